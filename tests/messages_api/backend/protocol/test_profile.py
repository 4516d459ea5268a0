"""Profiles and their validation."""

import dataclasses
from typing import Any

import pytest

from messages_api.backend.protocol.profile import Profile, ProfileInvalid


def test_the_defaults_are_the_most_portable_choice() -> None:
    assert dataclasses.asdict(Profile.from_mapping({})) == {
        "max_tokens_field": "max_tokens",
        "system_role": "system",
        "mid_system": "fold",
        "text_parts": False,
        "reasoning_history": None,
        "reasoning_required": False,
        "efforts": (),
        "thinking_toggle": None,
        "sampling": True,
        "top_k": False,
        "max_stop": None,
        "strict": False,
        "json_schema": True,
        "parallel_tool_calls": True,
        "user_field": None,
        "files": False,
        "server_tools": "reject",
        "prefill": "reject",
        "stream_options": True,
        "buffer_tool_calls": False,
        "tool_id_format": "any",
        "text_after_tool_result": "user",
        "cache_control": False,
        "tool_extras": True,
        "bills_unreadable": True,
        "region": "",
        "service_tiers": (),
        "auth_style": "bearer",
        "default_service_tier": "",
        "default_inference_geo": "",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens_field", "max_completion_tokens"),
        ("system_role", "developer"),
        ("mid_system", "keep"),
        ("text_parts", True),
        ("reasoning_history", "reasoning"),
        ("reasoning_history", "reasoning_content"),
        ("reasoning_history", None),
        ("thinking_toggle", "deepseek"),
        ("thinking_toggle", "enable_thinking"),
        ("max_stop", 0),
        ("user_field", "user"),
        ("user_field", "safety_identifier"),
        ("server_tools", "drop"),
        ("prefill", "forward"),
        ("region", "eu"),
        ("auth_style", "x-api-key"),
    ],
)
def test_a_field_takes_its_documented_values(field: str, value: Any) -> None:
    assert getattr(Profile.from_mapping({field: value}), field) == value


def test_efforts_are_a_list_of_levels() -> None:
    levels = ["none", "minimal", "low", "medium", "high", "xhigh", "max"]

    assert Profile.from_mapping({"efforts": levels}).efforts == tuple(levels)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"flies": True}, "flies"),
        ({"files": "yes"}, "files"),
        ({"files": 1}, "files"),
        ({"efforts": ["enormous"]}, "efforts"),
        ({"max_stop": -1}, "max_stop"),
        ({"system_role": "user"}, "system_role"),
        ({"region": "EU west"}, "region"),
        ({"service_tiers": ["Fast!"]}, "service_tiers"),
    ],
)
def test_an_invalid_profile_is_rejected_with_the_name_of_the_field(overrides: dict[str, Any], named: str) -> None:
    with pytest.raises(ProfileInvalid, match=named):
        Profile.from_mapping(overrides)
