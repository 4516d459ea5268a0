"""Translation of thinking and effort settings to OpenAI."""

from typing import Any

import pytest

from tests.messages_api.backend.protocol.translated import to_body

THREE = ["low", "medium", "high"]


def effort(level: str) -> Any:
    return {"output_config": {"effort": level}}


@pytest.mark.parametrize(
    ("accepted", "requested", "sent"),
    [
        (THREE, "low", "low"),
        (THREE, "high", "high"),
        (THREE, "xhigh", "high"),
        (THREE, "max", "high"),
        (["medium", "high"], "low", "medium"),
        (["high", "low"], "medium", "low"),
        (["max", "high"], "low", "high"),
        (["none", "high"], "medium", "none"),
        (["minimal", "low", "xhigh", "max"], "high", "low"),
        (["minimal", "low", "xhigh", "max"], "xhigh", "xhigh"),
    ],
)
def test_the_strongest_accepted_level_that_is_not_stronger_is_sent(accepted: Any, requested: str, sent: str) -> None:
    assert to_body(**effort(requested), profile={"efforts": accepted}) == ({"reasoning_effort": sent}, set())


@pytest.mark.parametrize(
    ("budget", "sent"),
    [(1024, "low"), (2047, "low"), (2048, "medium"), (4095, "medium"), (4096, "high"), (90000, "high")],
)
def test_a_budget_is_a_level(budget: int, sent: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget}

    assert to_body(thinking=thinking, profile={"efforts": THREE}) == ({"reasoning_effort": sent}, set())


@pytest.mark.parametrize(
    ("thinking", "config", "efforts", "body"),
    [
        pytest.param({"type": "adaptive"}, None, THREE, {}, id="adaptive"),
        pytest.param({"type": "between_tools"}, {}, THREE, {}, id="between tools"),
        pytest.param({"type": "enabled"}, None, THREE, {}, id="no budget"),
        pytest.param({"type": "enabled", "budget_tokens": "x"}, None, THREE, {}, id="a budget that is none"),
        pytest.param(
            {"type": "enabled", "budget_tokens": 1024},
            {"effort": "high"},
            THREE,
            {"reasoning_effort": "high"},
            id="an effort beside a budget",
        ),
        pytest.param({"type": "disabled"}, None, THREE, {}, id="off, without a word for it"),
        pytest.param({"type": "disabled"}, None, ["none", "low"], {"reasoning_effort": "none"}, id="off"),
        pytest.param(
            {"type": "disabled"},
            {"effort": "high"},
            ["none", "high"],
            {"reasoning_effort": "none"},
            id="off beside an effort",
        ),
        pytest.param(
            {"type": "disabled"}, {"effort": "high"}, THREE, {}, id="off beside an effort, without a word for it"
        ),
    ],
)
def test_thinking_is_a_level_where_levels_are_accepted(thinking: Any, config: Any, efforts: Any, body: Any) -> None:
    assert to_body(thinking=thinking, output_config=config, profile={"efforts": efforts}) == (body, set())


@pytest.mark.parametrize(
    ("thinking", "is_on"),
    [("enabled", True), ("adaptive", True), ("between_tools", True), ("disabled", False)],
)
def test_a_providers_switch_is_set(thinking: str, is_on: bool) -> None:
    fields: Any = {"thinking": {"type": thinking}}

    assert to_body(**fields, profile={"thinking_toggle": "deepseek"}) == (
        {"thinking": {"type": "enabled" if is_on else "disabled"}},
        set(),
    )
    assert to_body(**fields, profile={"thinking_toggle": "enable_thinking"}) == (
        {"chat_template_kwargs": {"enable_thinking": is_on}},
        set(),
    )


@pytest.mark.parametrize(
    ("fields", "profile", "dropped"),
    [
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {}, {"thinking"}),
        ({"thinking": {"type": "disabled"}}, {}, {"thinking"}),
        (effort("low"), {}, {"output_config.effort"}),
        ({**effort("low"), "thinking": {"type": "adaptive"}}, {}, {"thinking", "output_config.effort"}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {"efforts": THREE}, {"thinking.display"}),
        (effort("enormous"), {"efforts": THREE}, {"output_config.effort"}),
    ],
)
def test_a_setting_without_a_counterpart_is_dropped(fields: Any, profile: Any, dropped: set[str]) -> None:
    assert to_body(**fields, profile=profile) == ({}, dropped)


def test_a_switch_is_no_level() -> None:
    body, dropped = to_body(**effort("low"), thinking={"type": "enabled"}, profile={"thinking_toggle": "deepseek"})

    assert body == {"thinking": {"type": "enabled"}}
    assert dropped == {"output_config.effort"}
