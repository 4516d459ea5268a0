"""Mapping of finish reasons and stop reasons."""

from typing import Any

import pytest

from messages_api.backend.protocol.stop_reasons import finish_reason, stop_fields

REFUSAL = {"type": "refusal", "category": None, "explanation": None}


def stop(choice: Any, *, has_tools: bool = False, is_refusal: bool = False) -> Any:
    return stop_fields(choice, has_tools=has_tools, is_refusal=is_refusal, stop_sequences=["END", "STOP"])


@pytest.mark.parametrize(
    ("finish", "has_tools", "is_refusal", "stop_reason"),
    [
        ("length", True, True, "max_tokens"),
        ("content_filter", True, True, "refusal"),
        ("stop", True, True, "tool_use"),
        (None, True, False, "tool_use"),
        ("stop", False, True, "refusal"),
        ("stop", False, False, "end_turn"),
        ("tool_calls", False, False, "end_turn"),
        ("function_call", False, False, "end_turn"),
        (None, False, False, "end_turn"),
        ("never heard of", False, False, "end_turn"),
        (["stop"], False, False, "end_turn"),
    ],
)
def test_the_first_condition_decides(finish: object, has_tools: bool, is_refusal: bool, stop_reason: str) -> None:
    fields = stop({"finish_reason": finish}, has_tools=has_tools, is_refusal=is_refusal)

    details = {"stop_details": REFUSAL} if stop_reason == "refusal" else {}
    assert fields == {"stop_reason": stop_reason, "stop_sequence": None, **details}


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param({"stop_reason": "END"}, id="vLLM"),
        pytest.param({"matched_stop": "END"}, id="SGLang"),
        pytest.param({"stop_reason": 128009, "matched_stop": "END"}, id="a token beside it"),
        pytest.param({"stop_reason": "END", "matched_stop": "STOP"}, id="the first of two"),
    ],
)
def test_a_requested_stop_sequence_is_reported(choice: Any) -> None:
    assert stop({"finish_reason": "stop", **choice}) == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param({"finish_reason": "stop", "matched_stop": "<|im_end|>"}, id="a token of the template"),
        pytest.param({"finish_reason": "stop", "stop_reason": 128009}, id="a number"),
        pytest.param({"finish_reason": "tool_calls", "stop_reason": "END"}, id="another finish reason"),
    ],
)
def test_another_match_is_no_stop_sequence(choice: Any) -> None:
    assert stop(choice) == {"stop_reason": "end_turn", "stop_sequence": None}


def test_a_stop_sequence_after_a_tool_call_is_not_reported() -> None:
    choice = {"finish_reason": "stop", "stop_reason": "END"}

    assert stop(choice, has_tools=True) == {"stop_reason": "tool_use", "stop_sequence": None}


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("compaction", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("never heard of", "stop"),
        (None, "stop"),
        (["end_turn"], "stop"),
    ],
)
def test_each_stop_reason_has_a_finish_reason(stop_reason: object, finish: str) -> None:
    assert finish_reason(stop_reason) == finish
