"""Profiles: the capabilities of an upstream. The defaults are the most portable ones."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal, TypeAlias

import msgspec

FactValue: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{0,32}$")]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ProfileInvalid(ValueError):
    """A profile has an unknown field or an invalid value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The capabilities of one upstream: the fields to send, and how to read its responses."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system_role: Literal["system", "developer"] = "system"
    mid_system: Literal["fold", "keep"] = "fold"
    """`keep` if system messages are accepted anywhere in the conversation."""
    text_parts: bool = False
    """Whether content that is all text may be an array of parts."""
    reasoning_history: Literal["reasoning_content", "reasoning"] | None = None
    """The field for the thinking of earlier turns."""
    reasoning_required: bool = False
    """Whether turns with tool calls need that field even when it is empty."""
    efforts: tuple[Effort, ...] = ()
    """The accepted values of `reasoning_effort`."""
    thinking_toggle: Literal["deepseek", "enable_thinking"] | None = None
    sampling: bool = True
    """Whether `temperature` and `top_p` are accepted."""
    top_k: bool = False
    max_stop: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The maximum number of stop sequences; None is no limit."""
    strict: bool = False
    """Whether `strict` is accepted on a tool."""
    json_schema: bool = True
    parallel_tool_calls: bool = True
    user_field: Literal["user", "safety_identifier"] | None = None
    files: bool = False
    """Whether PDFs are accepted as file parts."""
    server_tools: Literal["reject", "drop"] = "reject"
    prefill: Literal["reject", "forward"] = "reject"
    stream_options: bool = True
    buffer_tool_calls: bool = False
    """Whether each tool call of a stream is sent only when it is complete."""
    tool_id_format: Literal["any", "40_characters", "9_alphanumeric"] = "any"
    """The IDs of tool calls that are accepted. Others are replaced by one that is derived from them."""
    text_after_tool_result: Literal["user", "tool"] = "user"
    """`tool` if no user message is accepted after a tool message: the text becomes a part of the result."""
    cache_control: bool = False
    """Whether Anthropic's `cache_control` is accepted."""
    tool_extras: bool = True
    """Whether a tool call of the history keeps the provider's own fields, such as Gemini's thought signature."""
    bills_unreadable: bool = True
    """Whether a response that was generated and cannot be read is billed. If so, it is not requested again."""
    region: FactValue = ""
    """The region of a regional base URL, where prices differ: no response states it."""
    service_tiers: tuple[FactValue, ...] = ()
    """The accepted values of `service_tier`. Others are dropped."""
    auth_style: Literal["bearer", "x-api-key"] = "bearer"
    """The header for the credential."""
    default_service_tier: FactValue = ""
    """The most expensive service tier that a request without one may be served with, as a project's setting."""
    default_inference_geo: FactValue = ""
    """The inference geography of the workspace. Empty: unknown."""

    @classmethod
    def from_mapping(cls, overrides: Mapping[str, object]) -> "Profile":
        """Return the default profile with these fields changed. Raise ProfileInvalid, which names the field."""
        unknown = sorted(overrides.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ProfileInvalid(f"{unknown[0]}: unknown field")
        try:
            return msgspec.convert(dict(overrides), cls)
        except msgspec.ValidationError as error:
            raise ProfileInvalid(str(error)) from error
