"""Capabilities of listed models are passed on if, and only if, the official SDK reads them strictly."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic.types import ModelCapabilities
from anthropic.types.beta import BetaModelCapabilities
from pydantic import ValidationError

from messages_api.backend.protocol.model_capabilities import MAX_CHARACTERS, readable_capabilities

YES: dict[str, Any] = {"supported": True}
CAPABILITIES: dict[str, Any] = {
    "batch": YES,
    "citations": YES,
    "code_execution": {"supported": False},
    "compaction": {"supported": True, "summarize": YES},
    "context_management": {"supported": True, "clear_thinking_20251015": YES, "compact_20260112": None},
    "effort": {"supported": True, "high": YES, "low": YES, "max": YES, "medium": YES, "xhigh": None},
    "image_input": YES,
    "pdf_input": YES,
    "server_tools": {"supported": True, "code_execution": YES, "web_search": YES},
    "structured_outputs": YES,
    "thinking": {
        "supported": True,
        "types": {"adaptive": YES, "between_tools": YES, "disabled": YES, "enabled": YES},
    },
    "of_the_future": {"supported": True, "of_some_kind": YES},
}


def test_capabilities_are_passed_on_unchanged() -> None:
    assert readable_capabilities(CAPABILITIES) == CAPABILITIES
    known = {name: value for name, value in CAPABILITIES.items() if name not in ("compaction", "of_the_future")}
    assert readable_capabilities(known) == known


def paths(value: dict[str, Any]) -> Iterator[list[str]]:
    for name, part in value.items():
        yield [name]
        if isinstance(part, dict):
            yield from ([name, *path] for path in paths(part))


def is_read(value: dict[str, Any]) -> bool:
    try:
        ModelCapabilities.model_validate(value, strict=True)
        BetaModelCapabilities.model_validate(value, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("path", list(paths(CAPABILITIES)), ids=".".join)
@pytest.mark.parametrize("spoilt", [..., None, "yes", 1, True, [], {}], ids=repr)
def test_what_a_strict_client_cannot_read_is_left_out(path: list[str], spoilt: object) -> None:
    capabilities = copy.deepcopy(CAPABILITIES)
    *parents, name = path
    part = capabilities
    for parent in parents:
        part = part[parent]
    part[name] = spoilt
    if spoilt is ...:
        del part[name]

    is_passed_on = readable_capabilities(capabilities) is not None
    is_known = path[0] != "of_the_future"

    assert is_passed_on == is_read(capabilities) if is_known else is_passed_on <= is_read(capabilities)


@pytest.mark.parametrize("value", [None, True, [], "all", {}, {"batch": YES}])
def test_other_values_are_left_out(value: object) -> None:
    assert readable_capabilities(value) is None


def test_their_length_is_bounded() -> None:
    many = {f"capability {number}": YES for number in range(MAX_CHARACTERS // 20)}

    assert readable_capabilities(CAPABILITIES | many) is None
