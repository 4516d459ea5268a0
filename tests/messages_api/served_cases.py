"""Worked examples of responses in both dialects, plain and streamed, with the columns of their usage records.

The columns and costs are those of `tests/keys/pricing/price_cases.json`, which rates the same requests.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("served_cases.json")
PRICE_FILE = Path(__file__).parents[1] / "keys" / "pricing" / "price_cases.json"
IN_THE_FIRST_EVENT = ("service_tier", "speed", "inference_geo", "cache_creation")
"""Fields of `usage` that Anthropic sends in `message_start` only."""
NEUTRAL: dict[str, Any] = {
    "speed": "",
    "service_tier": "",
    "inference_geo": "",
    "region": "",
    "refusal_category": "",
    "refused_before_output": False,
    "iterations": None,
    "audio_input_tokens": None,
    "audio_output_tokens": None,
    "web_searches": None,
    "vendor_cost_usd_picos": None,
}
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


@cache
def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text())
    return found


@cache
def price_cases() -> dict[str, dict[str, Any]]:
    """Return what each example costs, by its ID."""
    return {case["id"]: case for case in json.loads(PRICE_FILE.read_text())["cases"]}


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a usage record."""
    record = price_cases()[case["id"]]["record"]
    columns = NEUTRAL | dict.fromkeys(COUNTS, 0) | record
    if columns["iterations"]:
        columns["iterations"] = [{"model": ""} | dict.fromkeys(COUNTS, 0) | entry for entry in record["iterations"]]
    return columns


def plain(case: dict[str, Any]) -> dict[str, Any]:
    """Return the complete response of an example."""
    model = expected(case)["served_model"]
    if case["dialect"] == "openai":
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        return {"model": model, "choices": [choice], "usage": case["usage"], **case["response"]}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn"}
    content = [{"type": "text", "text": "Hi"}]
    return message | {"stop_sequence": None, "content": content, "usage": case["usage"]} | case["response"]


def streamed(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events or chunks of an example."""
    return _chunks(case) if case["dialect"] == "openai" else _events(case)


def _chunks(case: dict[str, Any]) -> list[dict[str, Any]]:
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": expected(case)["served_model"]}
    content = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    finish = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return [
        common | {"choices": [content], "service_tier": None, "usage": None},
        common | {"choices": [finish], **case["response"]},
        common | {"choices": [], "usage": case["usage"]},
    ]


def _events(case: dict[str, Any]) -> list[dict[str, Any]]:
    message = plain(case)
    stop = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in message}
    started = {name: value for name, value in case["usage"].items() if name != "iterations"} | {"output_tokens": 1}
    counts = {name: value for name, value in case["usage"].items() if name not in IN_THE_FIRST_EVENT}
    first = message | {"content": [], "stop_reason": None, "usage": started}
    first.pop("stop_details", None)
    events: list[dict[str, Any]] = [{"type": "message_start", "message": first}]
    for index, block in enumerate(message["content"]):
        is_text = block["type"] == "text"
        start = block | {"text": ""} if is_text else block
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        if is_text:
            delta = {"type": "text_delta", "text": block["text"]}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    return [*events, {"type": "message_delta", "delta": stop, "usage": counts}, {"type": "message_stop"}]
