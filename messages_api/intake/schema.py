"""
Schema of a request: its documented fields, their types and ranges.

The structs validate and are discarded; the client's own dict is used from then on. Blocks and tools may have fields
that are not listed here; a request, a message and its metadata may not. `null` is valid only where Anthropic's API
accepts it.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Text = Annotated[str, Meta(min_length=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Model = Annotated[str, Meta(min_length=1, max_length=256)]
Object = dict[str, Any]

MAX_TOKENS = 2**31 - 1
MAX_MESSAGES = 100_000


class RequestStruct(Struct, gc=False):
    """A struct that the garbage collector does not track: it has no cycles. Saves 0.2 s for 100,000 messages."""


class CacheControl(RequestStruct):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


# ---- images and documents


class Source(RequestStruct, tag_field="type"):
    """Source of an image or a document."""


class Base64Image(Source, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class Base64Document(Source, tag="base64"):
    media_type: Literal["application/pdf"]
    data: str


class Url(Source, tag="url"):
    url: str


class File(Source, tag="file"):
    file_id: Text


class PlainText(Source, tag="text"):
    media_type: Literal["text/plain"]
    data: str


class Blocks(Source, tag="content"):
    content: "str | list[TextBlock | Image]"


# ---- content blocks


class Block(RequestStruct, tag_field="type", kw_only=True):
    """One content block of a message."""

    cache_control: CacheControl | None = None


class TextBlock(Block, tag="text"):
    text: Text


class Image(Block, tag="image"):
    source: Base64Image | Url | File


class Document(Block, tag="document"):
    source: Base64Document | PlainText | Blocks | Url | File
    title: str | None = None
    context: str | None = None


class TextOnly(RequestStruct):
    """A text block where no other block is allowed. A lone struct with a tag would accept a block without a type."""

    type: Literal["text"]
    text: Text
    cache_control: CacheControl | None = None


class SearchResult(Block, tag="search_result"):
    source: str
    title: str
    content: list[TextOnly]


class Thinking(Block, tag="thinking"):
    thinking: str
    signature: str = ""


class RedactedThinking(Block, tag="redacted_thinking"):
    data: str


class ToolUse(Block, tag="tool_use"):
    id: str
    name: str
    input: Object


class ServerToolUse(Block, tag="server_tool_use"):
    id: str
    name: str
    input: Object


class McpToolUse(Block, tag="mcp_tool_use"):
    id: str
    name: str
    input: Object
    server_name: str


class ToolReference(Block, tag="tool_reference"):
    tool_name: str


class BrowserState(Block, tag="browser_state"):
    """Forwarded unchanged."""


class ToolResult(Block, tag="tool_result"):
    tool_use_id: str
    content: str | list[TextBlock | Image | Document | SearchResult | ToolReference | BrowserState] = ""
    is_error: bool = False


class ServerToolResult(Block):
    """Result or error of a server tool that Anthropic runs, forwarded unchanged."""

    tool_use_id: str
    content: Any


class WebSearchResult(ServerToolResult, tag="web_search_tool_result"): ...


class WebFetchResult(ServerToolResult, tag="web_fetch_tool_result"): ...


class CodeExecutionResult(ServerToolResult, tag="code_execution_tool_result"): ...


class BashCodeExecutionResult(ServerToolResult, tag="bash_code_execution_tool_result"): ...


class TextEditorCodeExecutionResult(ServerToolResult, tag="text_editor_code_execution_tool_result"): ...


class ToolSearchResult(ServerToolResult, tag="tool_search_tool_result"): ...


class AdvisorResult(ServerToolResult, tag="advisor_tool_result"): ...


class McpToolResult(Block, tag="mcp_tool_result"):
    tool_use_id: str


class ContainerUpload(Block, tag="container_upload"):
    file_id: Text


class BetaBlock(Block):
    """A block of an Anthropic beta, forwarded unchanged."""


class Compaction(BetaBlock, tag="compaction"): ...


class FallbackBlock(BetaBlock, tag="fallback"): ...


class Advisor(BetaBlock, tag="advisor"): ...


class ToolAddition(BetaBlock, tag="tool_addition"): ...


class ToolRemoval(BetaBlock, tag="tool_removal"): ...


class McpToolListing(BetaBlock, tag="mcp_tool_listing"): ...


AnyBlock = (
    TextBlock
    | Image
    | Document
    | SearchResult
    | Thinking
    | RedactedThinking
    | ToolUse
    | ToolResult
    | ServerToolUse
    | WebSearchResult
    | WebFetchResult
    | CodeExecutionResult
    | BashCodeExecutionResult
    | TextEditorCodeExecutionResult
    | ToolSearchResult
    | McpToolUse
    | McpToolResult
    | ContainerUpload
    | Compaction
    | FallbackBlock
    | Advisor
    | AdvisorResult
    | ToolAddition
    | ToolRemoval
    | McpToolListing
)


class ConversationMessage(RequestStruct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[AnyBlock]


# ---- tools


class Tool(RequestStruct):
    """A client tool (no type, or `custom`) or a tool of Anthropic. `cross_field_rules` checks the fields of each."""

    type: str | None = None
    name: str | UnsetType = UNSET
    input_schema: Object | UnsetType = UNSET
    cache_control: CacheControl | None = None


class AutoChoice(RequestStruct, tag_field="type", tag="auto"):
    disable_parallel_tool_use: bool = False


class AnyChoice(RequestStruct, tag_field="type", tag="any"):
    disable_parallel_tool_use: bool = False


class ToolChoice(RequestStruct, tag_field="type", tag="tool"):
    name: str
    disable_parallel_tool_use: bool = False


class NoChoice(RequestStruct, tag_field="type", tag="none", forbid_unknown_fields=True): ...


class McpServer(RequestStruct):
    type: Literal["url"]
    url: str
    name: str
    authorization_token: str | None = None
    tool_configuration: Object | None = None


# ---- the other fields of a request


class EnabledThinking(RequestStruct, tag_field="type", tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=1024)]
    display: Literal["summarized", "omitted", "updates"] | None = None


class AdaptiveThinking(RequestStruct, tag_field="type", tag="adaptive"):
    display: Literal["summarized", "omitted", "updates"] | None = None


class ThinkingBetweenTools(RequestStruct, tag_field="type", tag="between_tools"): ...


class DisabledThinking(RequestStruct, tag_field="type", tag="disabled"): ...


class OutputFormat(RequestStruct):
    type: Literal["json_schema"]
    schema: Object


class OutputConfig(RequestStruct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None
    task_budget: Object | None = None


class Metadata(RequestStruct, forbid_unknown_fields=True):
    user_id: str | None = None


class Container(RequestStruct):
    id: str | None = None
    skills: list[Object] | None = None


class Diagnostics(RequestStruct):
    previous_message_id: str | None = None


class ContextEdit(RequestStruct):
    type: Literal["clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112"]


class ContextManagement(RequestStruct):
    edits: list[ContextEdit] = []


class Fallback(RequestStruct):
    model: Model


# ---- requests


class EnvelopeRequest(RequestStruct, kw_only=True):
    """A request of the envelope API. Fields that are not listed here are rejected."""

    model: Model
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
    messages: Annotated[list[ConversationMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    system: str | list[TextOnly] = ""
    stop_sequences: Annotated[list[str], Meta(max_length=64)] = []
    stream: bool = False
    temperature: Share = 1
    top_p: Share = 1
    top_k: Count = 0
    tools: list[Tool] = []
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoChoice | UnsetType = UNSET
    thinking: EnabledThinking | AdaptiveThinking | ThinkingBetweenTools | DisabledThinking | UnsetType = UNSET
    output_config: OutputConfig | UnsetType = UNSET
    output_format: OutputFormat | None = None
    metadata: Metadata | UnsetType = UNSET
    service_tier: Literal["auto", "standard_only", "default", "fast", "flex", "priority", "scale"] = "auto"
    speed: Literal["standard", "fast"] | None = None
    inference_geo: str | None = None
    cache_control: CacheControl | None = None
    container: str | Container | None = None
    diagnostics: Diagnostics | None = None
    context_management: ContextManagement | None = None
    mcp_servers: list[McpServer] = []
    fallbacks: list[Fallback] | Literal["default"] | None = None
    fallback_credit_token: str | Object | None = None
    compaction: Object | None = None
    thread: Object | None = None
    billing_policy: Object | None = None


class AnthropicMessage(RequestStruct):
    role: str
    content: str | list[Any]


class CountTokensRequest(RequestStruct, kw_only=True):
    """The fields of a token count request that the gateway itself reads."""

    model: Model
    messages: Annotated[list[AnthropicMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]


class AnthropicRequest(CountTokensRequest, kw_only=True):
    """The fields of an Anthropic API request that the gateway itself reads."""

    max_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
    stream: bool = False
