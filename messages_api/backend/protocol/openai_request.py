"""Translation of an Anthropic request to Chat Completions."""

import hashlib

from lib.pace import Pace, no_pace
from messages_api.backend.protocol import events
from messages_api.backend.protocol.ids import Ids
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.reasoning import reasoning_for
from messages_api.backend.protocol.service_tier import service_tier_for
from messages_api.backend.protocol.structured_output import format_for
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.tools import tools_for
from messages_api.backend.protocol.turns import messages_for
from messages_api.backend.protocol.types import JSONObject, Message, MessagesRequest
from messages_api.backend.protocol.unsupported import UnsupportedRequest
from messages_api.backend.protocol.usage import Usage

__all__ = ["UnsupportedRequest", "empty_response", "to_openai"]

_TYPES: dict[str, type] = {
    "stop_sequences": list,
    "tools": list,
    "tool_choice": dict,
    "thinking": dict,
    "output_config": dict,
    "metadata": dict,
}
"""Fields that are read here and that the schema of the Anthropic API does not check."""

_TRANSLATED = {
    "model",
    "messages",
    "max_tokens",
    "system",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
}
"""Fields that have a counterpart or a function of their own. All others are hints."""

_UNSUPPORTED = ("mcp_servers", "container")
"""Fields that cannot be dropped, because that would change the meaning of the request."""


def to_openai(
    request: MessagesRequest, profile: Profile, *, step: Pace = no_pace, signer: ThinkingSigner | None = None
) -> tuple[JSONObject, list[str]]:
    """Return the body of a Chat Completions request, and the paths of the dropped fields.

    Hints are dropped. Raise UnsupportedRequest if the upstream does not support a field that changes the meaning. The
    body depends on the request alone, and keys keep their order: prefix caches of upstreams rely on both. `step` is
    called during long work. Thinking with a forged signature of the `signer` is omitted.
    """
    _check_types(request)
    body: JSONObject = {
        "model": request["model"],
        "messages": messages_for(request, profile, step=step, signer=signer),
        profile.max_tokens_field: request["max_tokens"],
    }
    dropped: list[str] = []
    for translate in (_stream, _sampling, _stops, tools_for, reasoning_for, format_for, _user, _hints):
        step()
        fields, lost = translate(request, profile)
        body |= fields
        dropped += lost
    return body, dropped


def empty_response(request: MessagesRequest, ids: Ids) -> Message | None:
    """Return the response to `max_tokens: 0`, which warms a cache that only Anthropic has; None for other requests.

    Raise UnsupportedRequest for fields that cannot be combined with it.
    """
    if request["max_tokens"] != 0:
        return None
    for is_set, field in (
        (request.get("stream"), "stream"),
        ((request.get("thinking") or {}).get("type") == "enabled", "thinking"),
        ((request.get("output_config") or {}).get("format"), "output_config.format"),
        (request.get("output_format"), "output_format"),
        ((request.get("tool_choice") or {}).get("type") in ("any", "tool"), "tool_choice"),
    ):
        if is_set:
            raise UnsupportedRequest(f"max_tokens: must be at least 1 together with {field}", "max_tokens")
    stop: JSONObject = {"stop_reason": "max_tokens", "stop_sequence": None}
    return events.message(ids.message(), model=request["model"], content=[], stop=stop, usage=Usage())


def _check_types(request: MessagesRequest) -> None:
    for field, expected in _TYPES.items():
        value = request.get(field)
        if value is not None and not isinstance(value, expected):
            raise UnsupportedRequest(f"{field}: must be {'an array' if expected is list else 'an object'}", field)


def _stream(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    if not request.get("stream"):
        return {}, []
    fields: JSONObject = {"stream": True}
    if profile.stream_options:
        fields["stream_options"] = {"include_usage": True}
    return fields, []


def _sampling(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    accepted = {"temperature": profile.sampling, "top_p": profile.sampling, "top_k": profile.top_k}
    given = {field: value for field in accepted if (value := request.get(field)) is not None}
    fields = {field: value for field, value in given.items() if accepted[field]}
    return fields, [field for field in given if not accepted[field]]


def _stops(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    stops = request.get("stop_sequences")
    if not stops:
        return {}, []
    if profile.max_stop is not None and len(stops) > profile.max_stop:
        raise UnsupportedRequest(f"stop_sequences: this model takes at most {profile.max_stop}", "stop_sequences")
    return {"stop": stops}, []


def _user(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    """Send a hash of the user ID: Claude Code's is longer than the limit, and truncated ones may be equal."""
    metadata = request.get("metadata")
    if metadata is None:
        return {}, []
    user_id = metadata.get("user_id")
    if profile.user_field is None or not isinstance(user_id, str):
        return {}, ["metadata"]
    return {profile.user_field: hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()}, []


def _hints(request: MessagesRequest, profile: Profile) -> tuple[JSONObject, list[str]]:
    """Return the fields without a counterpart. Clients send new fields with each release: an unknown one is a hint."""
    for field in _UNSUPPORTED:
        if request.get(field):
            raise UnsupportedRequest(f"{field}: not supported by this model", field)
    passed: JSONObject = {}
    if profile.cache_control and (automatic := request.get("cache_control")):
        passed["cache_control"] = automatic
    if (tier := service_tier_for(request, profile)) is not None:
        passed["service_tier"] = tier
    known = _TRANSLATED | passed.keys()
    dropped = [field for field, value in request.items() if field not in known and value is not None]
    config = request.get("output_config") or {}
    return passed, dropped + [f"output_config.{field}" for field in config if field not in ("effort", "format")]
