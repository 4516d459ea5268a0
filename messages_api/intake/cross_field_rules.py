"""Validation across the fields of a request, for the envelope API: turns, tools, thinking, stop sequences."""

import re
from collections.abc import Sequence

from msgspec import UNSET

from lib.pace import Pace, no_pace
from messages_api.errors import RequestError
from messages_api.intake import media_sources
from messages_api.intake.schema import (
    ConversationMessage,
    EnabledThinking,
    EnvelopeRequest,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

# A client tool is `custom`. The others come in families whose versions differ by date.
TOOL_TYPE = re.compile(
    r"custom|mcp_toolset|tool_search_tool_bm25|tool_search_tool_regex"
    r"|(?:bash|text_editor|memory|computer|computer_toolset|browser_toolset|web_search|web_fetch|code_execution|advisor"
    r"|tool_search_tool_bm25|tool_search_tool_regex)_20[0-9]{6}"
)


def check(request: EnvelopeRequest, *, step: Pace = no_pace) -> None:
    """Raise RequestError (400) with the path of the first field that breaks a rule. `step`: during long work."""
    check_turns(request.messages)
    step()
    media_sources.check_sources(request.messages, step=step)
    check_tools(request.tools)
    check_tool_choice(request)
    check_thinking(request)
    for i, text in enumerate(request.stop_sequences):
        if not text.strip():
            reject(f"stop_sequences[{i}]", "expected text that is not blank")


def reject(path: str, expected: str) -> None:
    raise RequestError(f"{path}: {expected}.", param=path)


def check_turns(messages: Sequence[ConversationMessage]) -> None:
    """Check that the user begins, that no message is empty, and that tool results match the tool uses before them.

    Consecutive messages of one role are one turn. System messages are no turns and are allowed anywhere.
    """
    turn = "system"
    pending: set[str] = set()
    for i, message in enumerate(messages):
        is_prefill = message.role == "assistant" and i == len(messages) - 1
        if not message.content and not is_prefill:
            reject(f"messages[{i}].content", "expected content that is not empty")
        if message.role == "system":
            continue
        if turn == "system" and message.role == "assistant":
            reject(f"messages[{i}].role", "expected user: the first turn is the user's")
        if turn == "user" and message.role == "assistant":
            pending = set()
        turn = message.role
        if not isinstance(message.content, str):
            check_tool_results(message, pending, path=f"messages[{i}].content")
    if turn == "system":
        reject("messages", "expected at least one message of the user")


def check_tool_results(message: ConversationMessage, pending: set[str], *, path: str) -> None:
    """Add the tool uses of a message to `pending`, and remove those that its tool results refer to."""
    for i, block in enumerate(message.content):
        if isinstance(block, ToolUse):
            pending.add(block.id)
        elif isinstance(block, ToolResult):
            if message.role != "user" or block.tool_use_id not in pending:
                reject(f"{path}[{i}].tool_use_id", "expected the id of a tool_use of the turn before, each once")
            pending.remove(block.tool_use_id)


def check_tools(tools: Sequence[Tool]) -> None:
    names = set()
    for i, tool in enumerate(tools):
        check_tool(tool, path=f"tools[{i}]")
        if tool.name in names and tool.name is not UNSET:
            reject(f"tools[{i}].name", "expected a name that no other tool of the request has")
        names.add(tool.name)


def check_tool(tool: Tool, *, path: str) -> None:
    if tool.type is not None and not TOOL_TYPE.fullmatch(tool.type):
        reject(f"{path}.type", "expected custom, or a type of tool that this API documents")
    if isinstance(tool.name, str) and not TOOL_NAME.fullmatch(tool.name):
        reject(f"{path}.name", "expected 1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
    if isinstance(tool.input_schema, dict) and tool.input_schema.get("type", "object") != "object":
        reject(f"{path}.input_schema.type", "expected object")
    if tool.type is not None and tool.type != "custom":
        return
    for field in ("name", "input_schema"):
        if getattr(tool, field) is UNSET:
            reject(f"{path}.{field}", "required")


def check_tool_choice(request: EnvelopeRequest) -> None:
    if not isinstance(request.tool_choice, ToolChoice):
        return
    names = {tool.name for tool in request.tools}
    # A toolset has no name of its own: it adds names that only Anthropic knows.
    if request.tool_choice.name not in names and UNSET not in names:
        reject("tool_choice.name", "expected the name of a tool of the request")


def check_thinking(request: EnvelopeRequest) -> None:
    thinking = request.thinking
    if isinstance(thinking, EnabledThinking) and thinking.budget_tokens >= request.max_tokens:
        reject("thinking.budget_tokens", "expected less than max_tokens")
