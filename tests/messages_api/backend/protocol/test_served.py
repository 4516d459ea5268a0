"""What was served, as responses of both dialects state it."""

from typing import Any

import pytest

from messages_api.backend.protocol import iterations
from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.openai_counts import find_usage
from messages_api.backend.protocol.relay import AnthropicDecoder
from messages_api.backend.protocol.served import FACTS, Served
from messages_api.backend.protocol.usage import Usage
from tests.messages_api import served_cases
from tests.messages_api.backend.protocol.streams import REQUEST, chunk, counting_ids, text

all_cases = pytest.mark.parametrize("case", served_cases.cases(), ids=lambda case: case["id"])


def of_message(message: dict[str, Any]) -> tuple[Served, Usage]:
    served = Served()
    served.read_message(message)
    return served, Usage.from_anthropic(message.get("usage"))


def of_completion(response: dict[str, Any]) -> tuple[Served, Usage]:
    served = Served()
    served.read_chunk(response)
    served.read_usage(find_usage(response))
    return served, Usage.from_openai(find_usage(response))


def of_stream(frames: list[dict[str, Any]], *, dialect: str = "anthropic") -> tuple[Served, Usage]:
    decoder: Any = AnthropicDecoder(REQUEST) if dialect == "anthropic" else OpenAIDecoder(REQUEST, ids=counting_ids())
    for frame in frames:
        decoder.feed(frame)
    return decoder.served, decoder.usage


def columns(served: Served, usage: Usage) -> dict[str, Any]:
    billed = served.billed(usage)
    one_hour = billed.cache_write_1h or 0
    return {
        **{name: served.fact(name) for name in FACTS},
        "served_model": served.model,
        "refusal_category": served.refusal_category,
        "refused_before_output": served.refused_before_output,
        "iterations": served.iterations_of(usage),
        "input_tokens": billed.input,
        "output_tokens": billed.output,
        "cache_read_tokens": billed.cache_read or 0,
        "cache_write_5m_tokens": (billed.cache_write or 0) - one_hour,
        "cache_write_1h_tokens": one_hour,
        "audio_input_tokens": billed.audio_input,
        "audio_output_tokens": billed.audio_output,
        "web_searches": billed.web_searches or None,
        "vendor_cost_usd_picos": served.vendor_cost_picos,
    }


def expected(case: dict[str, Any]) -> dict[str, Any]:
    known = served_cases.expected(case)
    return {name: value for name, value in known.items() if name not in ("upstream_model", "region")}


@all_cases
def test_a_complete_response_states_what_is_priced(case: dict[str, Any]) -> None:
    read = of_completion if case["dialect"] == "openai" else of_message

    assert columns(*read(served_cases.plain(case))) == expected(case)


@all_cases
def test_a_stream_states_the_same(case: dict[str, Any]) -> None:
    found = of_stream(served_cases.streamed(case), dialect=case["dialect"])

    assert columns(*found) == expected(case)


@all_cases
def test_the_usage_object_is_the_same_however_it_arrives(case: dict[str, Any]) -> None:
    read = of_completion if case["dialect"] == "openai" else of_message
    whole, _ = read(served_cases.plain(case))
    parts, _ = of_stream(served_cases.streamed(case), dialect=case["dialect"])

    assert whole.usage_object == parts.usage_object == case["usage"]


# ---- streams of Anthropic


def events(start: dict[str, Any], *deltas: dict[str, Any], content: bool = True, **stop: Any) -> list[dict[str, Any]]:
    """Return the events of a stream by its usage objects."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": start}
    block = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
    ]
    ends = [{"type": "message_delta", "delta": {"stop_reason": "end_turn", **stop}, "usage": usage} for usage in deltas]
    return [{"type": "message_start", "message": message}, *(block if content else []), *ends]


def lifetimes(five_minutes: int, one_hour: int) -> dict[str, int]:
    return {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": one_hour}


@pytest.mark.parametrize(
    ("start", "delta", "written"),
    [
        pytest.param((3000, lifetimes(0, 3000)), 9000, (0, 9000), id="all of one hour"),
        pytest.param((3000, lifetimes(3000, 0)), 9000, (9000, 0), id="all of five minutes"),
        pytest.param((3000, lifetimes(1000, 2000)), 3000, (1000, 2000), id="both, and no more"),
        pytest.param((3000, lifetimes(1000, 2000)), 4000, (2000, 2000), id="both, and more"),
        pytest.param((3000, lifetimes(0, 3000)), 1000, (0, 1000), id="fewer"),
        pytest.param((3000, lifetimes(0, 3000)), None, (0, 3000), id="not repeated"),
        pytest.param((0, lifetimes(0, 0)), 9000, (9000, 0), id="unknown"),
    ],
)
def test_lifetimes_of_the_first_event_are_those_of_a_loop_of_server_tools(
    start: tuple[int, dict[str, int]], delta: int | None, written: tuple[int, int]
) -> None:
    first = {"input_tokens": 5, "output_tokens": 1, "cache_creation_input_tokens": start[0], "cache_creation": start[1]}
    last = {"output_tokens": 50} | ({} if delta is None else {"cache_creation_input_tokens": delta})

    found = columns(*of_stream(events(first, last)))

    assert (found["cache_write_5m_tokens"], found["cache_write_1h_tokens"]) == written


def test_facts_of_the_first_event_stay_and_later_ones_replace_them() -> None:
    first = {"input_tokens": 5, "output_tokens": 1, "speed": "fast", "service_tier": "standard", "inference_geo": "us"}

    kept = columns(*of_stream(events(first, {"output_tokens": 50, "speed": None})))
    replaced = columns(*of_stream(events(first, {"output_tokens": 50, "speed": "standard"})))

    assert [kept[name] for name in FACTS] == ["fast", "standard", "us"]
    assert [replaced[name] for name in FACTS] == ["standard", "standard", "us"]


@pytest.mark.parametrize("value", ["with spaces", "x" * 33, 3, True, ["fast"], {"fast": 1}])
def test_a_fact_that_is_no_word_is_unknown_and_not_absent(value: object) -> None:
    usage = {"input_tokens": 5, "output_tokens": 1, "speed": value}

    assert of_message({"usage": usage})[0].fact("speed") == "?"


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_fact_is_absent(value: object) -> None:
    assert of_message({"usage": {"input_tokens": 5, "output_tokens": 1, "speed": value}})[0].fact("speed") == ""


@pytest.mark.parametrize(
    ("details", "category"),
    [
        ({"category": "bio"}, "bio"),
        ({"category": None}, "uncategorized"),
        ({}, "uncategorized"),
        (None, "uncategorized"),
        ({"category": "the prompt in words"}, "?"),
        ({"category": 7}, "?"),
    ],
)
@pytest.mark.parametrize("has_content", [False, True])
def test_a_refusal_has_a_category_and_says_whether_output_had_begun(
    details: dict[str, Any] | None, category: str, has_content: bool
) -> None:
    usage = {"input_tokens": 412, "output_tokens": 1}
    stop = {"stop_reason": "refusal", "stop_details": details}
    content = [{"type": "text", "text": "Hi"}] if has_content else []

    whole = columns(*of_message({"content": content, "usage": usage, **stop}))
    stream = columns(*of_stream(events(usage, usage, content=has_content, **stop)))

    for found in (whole, stream):
        assert (found["refusal_category"], found["refused_before_output"]) == (category, not has_content)


def test_a_redeemed_credit_is_noted() -> None:
    def usage(kind: str) -> dict[str, Any]:
        return {"input_tokens": 5, "output_tokens": 1, "fallback_credit": {"status": {"type": kind}}}

    assert of_message({"usage": usage("redeemed")})[0].has_redeemed_credit
    assert of_stream(events(usage("redeemed"), {"output_tokens": 9}))[0].has_redeemed_credit
    assert not of_message({"usage": usage("not_applied")})[0].has_redeemed_credit
    assert not of_message({"usage": {"fallback_credit": "redeemed"}})[0].has_redeemed_credit


# ---- iterations


def entry(kind: str = "message", *, model: str = "", tokens: tuple[int, int] = (10, 5), **more: Any) -> dict[str, Any]:
    named = {"model": model} if model else {}
    return {"type": kind, **named, "input_tokens": tokens[0], "output_tokens": tokens[1], **more}


def fallback(source: str, to: str, category: str | None) -> dict[str, Any]:
    trigger = {"type": "refusal", "category": category}
    return {"type": "fallback", "from": {"model": source}, "to": {"model": to}, "trigger": trigger}


TEXT = {"type": "text", "text": "Hi"}


def hops(
    content: list[dict[str, Any]], entries: list[dict[str, Any]], **stop: Any
) -> list[tuple[str, str | None, Any]]:
    """Return model, category and whether it came before output, of each entry."""
    last = entries[-1]
    usage = {"input_tokens": last["input_tokens"], "output_tokens": last["output_tokens"], "iterations": entries}
    found = columns(*of_message({"model": "a", "content": content, "usage": usage, **stop}))["iterations"]
    return [(each["model"], each.get("refusal_category"), each.get("refused_before_output")) for each in found]


def test_each_hop_of_a_chain_has_its_own_category() -> None:
    content = [fallback("a", "b", "cyber"), TEXT, fallback("b", "c", None), TEXT]
    entries = [
        entry(model="a", tokens=(10, 1)),
        entry("fallback_message", model="b", tokens=(10, 30)),
        entry("fallback_message", model="c"),
    ]

    assert hops(content, entries) == [("a", "cyber", True), ("b", "uncategorized", False), ("c", None, None)]


def test_a_hop_ends_with_the_last_sampling_of_its_model() -> None:
    content = [TEXT, fallback("a", "b", "bio"), TEXT]
    entries = [
        entry("compaction"),
        entry(),
        entry("advisor_message", model="z"),
        entry(tokens=(10, 7)),
        entry("fallback_message", model="b"),
    ]

    found = hops(content, entries)

    assert found == [("", None, None), ("", None, None), ("z", None, None), ("a", "bio", False), ("b", None, None)]


def test_output_that_a_hop_counts_is_output_although_its_content_is_not_sent() -> None:
    entries = [entry(model="a", tokens=(10, 57)), entry("fallback_message", model="b")]

    assert hops([fallback("a", "b", "cyber"), TEXT], entries)[0] == ("a", "cyber", False)


def test_a_sticky_turn_has_no_block() -> None:
    assert hops([TEXT], [entry("fallback_message", model="b")]) == [("b", None, None)]


def test_the_refusal_that_ends_a_chain_is_that_of_its_last_hop() -> None:
    entries = [entry(model="a", tokens=(10, 0)), entry("fallback_message", model="b", tokens=(10, 1))]
    stop = {"stop_reason": "refusal", "stop_details": {"category": "bio"}}

    assert hops([fallback("a", "b", "cyber")], entries, **stop) == [("a", "cyber", True), ("b", "bio", True)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "entries",
        [1],
        [{}],
        [{"type": "message", "input_tokens": -1, "output_tokens": 5}],
        [{"type": "message", "input_tokens": 10, "output_tokens": "5"}],
        [{"type": "message", "input_tokens": 10**10, "output_tokens": 5}],
        [entry(tokens=(0, 0))],
        [entry()] * 2001,
    ],
)
def test_iterations_that_cannot_be_read_leave_the_counts_of_the_response(value: object) -> None:
    found = columns(*of_message({"usage": {"input_tokens": 10, "output_tokens": 5, "iterations": value}}))

    assert (found["input_tokens"], found["output_tokens"], found["iterations"]) == (10, 5, None)


def test_entries_without_lifetimes_have_those_of_the_response() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_creation_input_tokens": 4000,
        "cache_creation": lifetimes(0, 4000),
        "iterations": [
            entry("compaction", cache_creation_input_tokens=500),
            entry(cache_creation_input_tokens=4000),
        ],
    }

    found = columns(*of_message({"usage": usage}))

    assert (found["cache_write_5m_tokens"], found["cache_write_1h_tokens"]) == (0, 4500)
    assert [each["cache_write_1h_tokens"] for each in found["iterations"]] == [500, 4000]


def test_a_stream_that_goes_on_adds_its_output_to_the_last_message() -> None:
    start = {"input_tokens": 10, "output_tokens": 1, "iterations": [entry("compaction"), entry(tokens=(10, 1))]}

    served, usage = of_stream(events(start, {"output_tokens": 50}))
    found = columns(served, usage)

    assert (found["input_tokens"], found["output_tokens"]) == (20, 55)
    assert [each["output_tokens"] for each in found["iterations"]] == [5, 50]


def test_any_number_of_entries_is_kept_in_a_bounded_one_with_the_same_sums() -> None:
    entries = [entry(model=f"m-{number % 3}", tokens=(number, 2)) for number in range(2000)]
    usage = {"input_tokens": 1, "output_tokens": 1, "iterations": entries}

    found = columns(*of_message({"usage": usage}))

    kept = found["iterations"]
    assert len(kept) <= iterations.MAX_ITERATIONS
    for model in ("m-0", "m-1", "m-2"):
        sent = sum(each["input_tokens"] for each in entries if each["model"] == model)
        assert sum(each["input_tokens"] for each in kept if each["model"] == model) == sent
    assert found["output_tokens"] == 4000 == sum(each["output_tokens"] for each in kept)


def test_many_models_are_bounded_too() -> None:
    entries = [entry(model=f"m-{number}") for number in range(500)]

    found = columns(*of_message({"usage": {"input_tokens": 1, "output_tokens": 1, "iterations": entries}}))

    assert len(found["iterations"]) == iterations.MAX_ITERATIONS
    assert sum(each["input_tokens"] for each in found["iterations"]) == 5000 == found["input_tokens"]


# ---- streams of Chat Completions


def test_the_tier_of_the_last_chunk_that_states_one_counts() -> None:
    frames = [
        chunk({"content": "Hi"}, service_tier="auto", model="gpt"),
        chunk(finish="stop", service_tier="priority"),
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "service_tier": None},
    ]

    served, _ = of_stream(frames, dialect="openai")

    assert (served.fact("service_tier"), served.model) == ("priority", "gpt")


def test_usage_in_each_chunk_is_read_once_and_nothing_of_it_is_lost() -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 1, "cost": 0.5}
    frames = [
        text("a") | {"usage": counts},
        text("b") | {"usage": counts | {"completion_tokens": 2, "cost": 0.75}},
        text("c") | {"usage": {"prompt_tokens": 10, "completion_tokens": 3}},
        chunk(finish="stop") | {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        {"choices": [], "usage": {"cost": 1e-07, "is_byok": True}},
    ]

    served, usage = of_stream(frames, dialect="openai")

    assert served.usage_object == {"prompt_tokens": 10, "completion_tokens": 3, "cost": 1e-07, "is_byok": True}
    assert (served.vendor_cost_picos, usage.output) == (100_000, 3)


@pytest.mark.parametrize(
    "usage",
    [
        {"server_tool_use": {"web_search_requests": 3}},
        {"server_side_tool_usage_details": {"web_search_calls": 3, "x_search_calls": 9}},
        {"prompt_tokens_details": {"web_search_requests": 3}},
        {"num_search_queries": 3},
    ],
)
def test_web_searches_are_counted_in_any_spelling(usage: dict[str, Any]) -> None:
    assert Usage.from_openai({"prompt_tokens": 1, "completion_tokens": 1, **usage}).web_searches == 3


def test_audio_is_a_part_of_its_direction() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 90},
        "completion_tokens_details": {"audio_tokens": 70},
    }

    found = Usage.from_openai(usage)

    assert (found.input, found.audio_input, found.output, found.audio_output) == (60, 60, 50, 50)


def test_no_content_is_kept() -> None:
    secret = "The prompt, word for word: " + "a" * 40
    usage = {"input_tokens": 5, "output_tokens": 1, "echo": secret, "nested": {"deep": [secret]}, secret: 1}
    message = {"model": "m", "content": [{"type": "text", "text": secret}], "usage": usage}

    served, counts = of_message(message | {"stop_reason": "refusal", "stop_details": {"category": secret}})

    assert secret not in repr((columns(served, counts), served.usage_object, vars(served)))


@pytest.mark.parametrize("value", [None, 1, "usage", [], [1], True, {"iterations": {"a": 1}}, {"cost": []}])
def test_hostile_values_are_no_error(value: Any) -> None:
    for message in ({"usage": value, "content": value, "model": value, "stop_details": value}, {"content": [value]}):
        columns(*of_message(message | {"stop_reason": "refusal"}))
    columns(*of_stream([chunk({"content": "a"}, model=value, service_tier=value, usage=value)], dialect="openai"))
    hop = {"type": "fallback", "from": value, "to": value, "trigger": value}
    columns(*of_message({"content": [hop, value], "usage": {"iterations": [value], "fallback_credit": value}}))
