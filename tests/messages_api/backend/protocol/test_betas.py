"""Beta features that a request of the envelope API uses."""

from typing import Any

import pytest

from messages_api.backend.protocol.betas import betas_of
from messages_api.backend.protocol.headers import upstream_headers
from tests.messages_api.backend.protocol.streams import REQUEST


@pytest.mark.parametrize(
    ("fields", "betas"),
    [
        ({}, []),
        ({"context_management": {"edits": []}}, ["context-management-2025-06-27"]),
        (
            {"context_management": {"edits": [{"type": "compact_20260112"}]}},
            ["context-management-2025-06-27", "compact-2026-01-12"],
        ),
        ({"mcp_servers": [{"type": "url"}], "tools": [{"type": "mcp_toolset"}]}, ["mcp-client-2025-11-20"]),
        ({"mcp_servers": [], "speed": "standard", "fallbacks": None}, []),
        ({"speed": "fast"}, ["fast-mode-2026-02-01"]),
        ({"container": {"skills": [{}]}}, ["skills-2025-10-02", "code-execution-2025-08-25"]),
        ({"container": "c"}, []),
        ({"output_config": {"task_budget": {"type": "tokens"}}}, ["task-budgets-2026-03-13"]),
        ({"tools": [{"name": "a", "input_schema": {}}]}, []),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_addition"}, {"type": "tool_removal"}]}]},
            ["mid-conversation-tool-changes-2026-07-01"],
        ),
    ],
)
def test_the_betas_of_a_request_are_named(fields: Any, betas: list[str]) -> None:
    request: Any = {**REQUEST, **fields}

    assert betas_of(request) == betas


def test_only_the_envelope_api_adds_them() -> None:
    betas = ["a-1", "b-2"]

    sent = upstream_headers(api_format="envelope", style="bearer", key="k", headers={}, betas=betas)
    forwarded = upstream_headers(
        api_format="anthropic", style="bearer", key="k", headers={"anthropic-beta": "c-3"}, betas=betas
    )

    assert (sent["anthropic-beta"], forwarded["anthropic-beta"]) == ("a-1,b-2", "c-3")
