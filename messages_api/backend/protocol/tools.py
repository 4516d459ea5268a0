"""Translation of tools and `tool_choice` to OpenAI."""

from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.types import JSONObject, MessagesRequest
from messages_api.backend.protocol.unsupported import UnsupportedRequest

CLIENT_TOOL_TYPES = ("custom", "bash_", "text_editor_", "memory_", "computer_", "browser_toolset_", "tool_search_")
"""Prefixes of the types of tools that the client runs, or that add nothing to what the request has."""

# Prefixes of tools that Anthropic runs. A version's date follows the name.
_SERVER_TOOLS = ("web_search_", "web_fetch_", "code_execution_", "mcp_toolset", "advisor_")

# Tool search finds deferred tools. Chat Completions defers none: every tool is visible.
_TOOL_SEARCH = "tool_search_"

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def tools_for(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    """Return `tools`, `tool_choice` and `parallel_tool_calls`, and the paths of the dropped fields.

    Raise UnsupportedRequest for a tool that only Anthropic can run, and for an unknown `tool_choice`.
    """
    tools: list[JSONObject] = []
    dropped: list[str] = []
    for i, tool in enumerate(request.get("tools") or []):
        if _is_client_tool(tool, path=f"tools[{i}]"):
            tools.append({"type": "function", "function": _function(tool, profile)})
        elif tool["type"].startswith(_TOOL_SEARCH) or _is_droppable(tool, profile):
            dropped.append(f"tools.{i}")
        else:
            raise UnsupportedRequest(
                f"tools[{i}]: tool type '{tool['type']}' is not supported by this model", f"tools[{i}].type"
            )

    choice = request.get("tool_choice")
    if not tools:
        return {}, [*dropped, "tool_choice"] if choice else dropped
    fields: JSONObject = {"tools": tools}
    if choice:
        fields["tool_choice"] = _choice(choice, tools)
        if choice.get("disable_parallel_tool_use") and choice["type"] != "none":
            if profile.parallel_tool_calls:
                fields["parallel_tool_calls"] = False
            else:
                dropped.append("tool_choice.disable_parallel_tool_use")
    return fields, dropped


def _is_client_tool(tool: object, *, path: str) -> bool:
    """Whether the client defines and runs a tool. Raise UnsupportedRequest if the tool is invalid."""
    if not isinstance(tool, dict) or not isinstance(tool.get("type") or "custom", str):
        raise UnsupportedRequest(f"{path}: must be a tool", path)
    if tool.get("type") not in (None, "custom"):
        return False
    if not isinstance(tool.get("name"), str):
        raise UnsupportedRequest(f"{path}.name: must be a string", f"{path}.name")
    if not isinstance(tool.get("input_schema") or {}, dict):
        raise UnsupportedRequest(f"{path}.input_schema: must be an object", f"{path}.input_schema")
    return True


def _is_droppable(tool: JSONObject, profile: Profile) -> bool:
    return profile.server_tools == "drop" and tool["type"].startswith(_SERVER_TOOLS)


def _function(tool: JSONObject, profile: Profile) -> JSONObject:
    function: JSONObject = {"name": tool["name"]}
    if tool.get("description"):
        function["description"] = tool["description"]
    function["parameters"] = {"type": "object", "properties": {}} | (tool.get("input_schema") or {})
    if profile.strict and tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    return function


def _choice(choice: JSONObject, tools: list[JSONObject]) -> str | JSONObject:
    kind = choice.get("type")
    if kind == "tool":
        name = choice.get("name")
        if name not in [tool["function"]["name"] for tool in tools]:
            raise UnsupportedRequest(f"tool_choice.name: unknown tool '{name}'", "tool_choice.name")
        return {"type": "function", "function": {"name": name}}
    if not isinstance(kind, str) or kind not in _CHOICES:
        raise UnsupportedRequest(f"tool_choice.type: '{kind}' is not supported by this model", "tool_choice.type")
    return _CHOICES[kind]
