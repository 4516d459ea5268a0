"""Beta features of Anthropic's API that a request uses, by the names of the `anthropic-beta` header.

Anthropic rejects a field of a beta without its name. Clients of the Anthropic API send the names themselves.
"""

from messages_api.backend.protocol.types import JSONObject, MessagesRequest

_FIELDS = {
    "context_management": "context-management-2025-06-27",
    "mcp_servers": "mcp-client-2025-11-20",
    "output_format": "structured-outputs-2025-11-13",
    "fallbacks": "server-side-fallback-2026-07-01",
    "fallback_credit_token": "fallback-credit-2026-07-01",
    "compaction": "compact-2026-09-04",
    "thread": "message-threads-2026-08-12",
    "billing_policy": "user-profiles-billing-2026-10-01",
}
_TOOLS = {
    "advisor_": "advisor-tool-2026-03-01",
    "computer_2025": "computer-use-2025-11-24",
    "mcp_toolset": "mcp-client-2025-11-20",
}
"""By the start of the tool's type."""
_TOOL_CHANGES = "mid-conversation-tool-changes-2026-07-01"
_BLOCKS = {"tool_addition": _TOOL_CHANGES, "tool_removal": _TOOL_CHANGES}


def betas_of(request: MessagesRequest) -> list[str]:
    """Return the names of the beta features of a validated request, each once."""
    fields: JSONObject = {**request}
    names = [name for field, name in _FIELDS.items() if fields.get(field)]
    edits = (fields.get("context_management") or {}).get("edits") or []
    if any(edit.get("type") == "compact_20260112" for edit in edits):
        names.append("compact-2026-01-12")
    if fields.get("speed") == "fast":
        names.append("fast-mode-2026-02-01")
    if (fields.get("output_config") or {}).get("task_budget"):
        names.append("task-budgets-2026-03-13")
    if (fields.get("thinking") or {}).get("display") == "updates":
        names.append("thinking-display-updates-2026-08-18")
    container = fields.get("container")
    if isinstance(container, dict) and container.get("skills"):
        names += ["skills-2025-10-02", "code-execution-2025-08-25"]
    for tool in fields.get("tools") or []:
        names += [name for start, name in _TOOLS.items() if (tool.get("type") or "").startswith(start)]
    names += [_BLOCKS[kind] for kind in _block_types(request) if kind in _BLOCKS]
    return list(dict.fromkeys(names))


def _block_types(request: MessagesRequest) -> set[str]:
    return {
        block["type"]
        for message in request["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
    }
