"""What an upstream can and cannot do. The defaults are the most portable choice."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal, TypeAlias

import msgspec

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ProfileInvalid(ValueError):
    """The profile of an upstream has an unknown field or a value that its field does not take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What to send to one upstream, and how to read it."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system_role: Literal["system", "developer"] = "system"
    mid_system: Literal["fold", "keep"] = "fold"
    """`keep` where system messages may stand anywhere in the conversation."""
    text_parts: bool = False
    """May content that is all text be an array of parts?"""
    reasoning_history: Literal["reasoning_content", "reasoning"] | None = None
    """The field in which earlier thinking is sent back."""
    reasoning_required: bool = False
    """Do turns with tool calls need that field even when it is empty?"""
    efforts: tuple[Effort, ...] = ()
    """The accepted values of `reasoning_effort`."""
    thinking_toggle: Literal["deepseek", "enable_thinking"] | None = None
    sampling: bool = True
    """Are `temperature` and `top_p` accepted?"""
    top_k: bool = False
    max_stop: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How many stop sequences are accepted; None is no limit."""
    strict: bool = False
    """Is `strict` accepted on a tool?"""
    json_schema: bool = True
    parallel_tool_calls: bool = True
    user_field: Literal["user", "safety_identifier"] | None = None
    files: bool = False
    """Are PDFs accepted as file parts?"""
    server_tools: Literal["reject", "drop"] = "reject"
    prefill: Literal["reject", "forward"] = "reject"
    stream_options: bool = True
    buffer_tool_calls: bool = False
    """Emit each tool call of a stream only when it is complete."""
    auth_style: Literal["bearer", "x-api-key"] = "bearer"
    """The header in which our credential travels."""

    @classmethod
    def from_mapping(cls, overrides: Mapping[str, object]) -> "Profile":
        """Return the default profile with these fields changed. Raise ProfileInvalid, which names the field."""
        unknown = sorted(overrides.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ProfileInvalid(f"{unknown[0]}: there is no such field")
        try:
            return msgspec.convert(dict(overrides), cls)
        except msgspec.ValidationError as error:
            raise ProfileInvalid(str(error)) from error
