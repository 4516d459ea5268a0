"""Lists of models: those of upstreams, in both dialects, and the pages of Anthropic's API."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Required, TypedDict

from messages_api.backend.protocol.model_capabilities import readable_capabilities
from messages_api.backend.protocol.types import JSONObject
from messages_api.backend.protocol.unsupported import UnsupportedRequest

DEFAULT_LIMIT = 20
MAX_LIMIT: Final = 1000
"""Also how many models of one upstream are read."""
MAX_TEXT = 256
UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""The API's own value for a model whose release date is unknown."""
LIFECYCLES = ("active", "deprecated", "retired")
LISTED_LIFECYCLES = ("active", "deprecated")
"""What a list without a filter contains."""
LINES = ("haiku", "sonnet", "opus", "fable", "mythos")
MAX_FALLBACKS = 64
AGREED_FIELDS = ("capabilities", "line", "allowed_fallback_models")
"""Fields that are true for clients only if all upstreams of a model say the same."""


class ListedModel(TypedDict, total=False):
    """A model as an upstream lists it, in Anthropic's fields. Fields that the upstream does not have are missing."""

    id: Required[str]
    display_name: str
    created_at: str
    lifecycle: str
    deprecated_at: str
    retires_at: str
    max_input_tokens: int
    max_tokens: int
    line: str
    capabilities: JSONObject
    allowed_fallback_models: list[str]


def from_anthropic(response: object) -> list[ListedModel]:
    """Return the models of a response to `GET /models`. Skip entries and fields that a strict client cannot read."""
    return [
        _listed(
            entry,
            display_name=_text(entry.get("display_name")),
            created_at=_time(entry.get("created_at")),
            lifecycle=entry.get("lifecycle") if entry.get("lifecycle") in LIFECYCLES else None,
            deprecated_at=_time(entry.get("deprecated_at")),
            retires_at=_time(entry.get("retires_at")),
            max_input_tokens=_count(entry.get("max_input_tokens")),
            max_tokens=_count(entry.get("max_tokens")),
            line=entry.get("line") if entry.get("line") in LINES else None,
            capabilities=readable_capabilities(entry.get("capabilities")),
            allowed_fallback_models=_names(entry.get("allowed_fallback_models")),
        )
        for entry in _entries(response)
    ]


def from_openai(response: object) -> list[ListedModel]:
    """Return the models of a response to `GET /models`, with the names of fields that OpenRouter and vLLM add."""
    return [
        _listed(
            entry,
            display_name=_text(entry.get("name")),
            created_at=_epoch(entry.get("created")),
            max_input_tokens=_count(entry.get("context_length")) or _count(entry.get("max_model_len")),
        )
        for entry in _entries(response)
    ]


def _listed(entry: dict[str, Any], **fields: object) -> ListedModel:
    known: Any = {"id": entry["id"]} | {name: value for name, value in fields.items() if value is not None}
    return known  # type: ignore[no-any-return]


def _entries(response: object) -> list[dict[str, Any]]:
    """Return the entries with a usable ID, the first MAX_LIMIT of them, each ID once."""
    data = response.get("data") if isinstance(response, dict) else None
    found: dict[str, dict[str, Any]] = {}
    for entry in data if isinstance(data, list) else []:
        if isinstance(entry, dict) and _text(entry.get("id")) and " " not in entry["id"]:
            found.setdefault(entry["id"], entry)
        if len(found) == MAX_LIMIT:
            break
    return list(found.values())


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable() else None


def _names(value: object) -> list[str] | None:
    is_readable = isinstance(value, list) and len(value) <= MAX_FALLBACKS and all(map(_text, value))
    return value if is_readable else None  # type: ignore[return-value]


def agreed(entries: Sequence[ListedModel]) -> ListedModel:
    """Return the first of the entries, without AGREED_FIELDS in which the others differ."""
    first: Any = entries[0]
    different = {name for name in AGREED_FIELDS if any(entry.get(name) != first.get(name) for entry in entries[1:])}
    kept: Any = {name: value for name, value in first.items() if name not in different}
    return kept  # type: ignore[no-any-return]


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value < 2**53 else None


def _time(value: object) -> str | None:
    """Return a time in RFC 3339 and UTC, so that times can be compared as texts."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if moment is None or moment.tzinfo is None else _utc(moment)
    except (ValueError, OverflowError):
        return None


def _epoch(value: object) -> str | None:
    return _utc(datetime.fromtimestamp(value, UTC)) if type(value) is int and 0 < value < 2**32 else None


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def model(entry: Mapping[str, Any]) -> JSONObject:
    """Return one model in Anthropic's format. `entry` has an `id` and optionally more of its fields."""
    defaults = {"type": "model", "id": entry["id"], "display_name": entry["id"], "created_at": UNKNOWN_TIME}
    return defaults | {field: value for field, value in entry.items() if value is not None}


def newest_first(entries: Iterable[ListedModel]) -> list[ListedModel]:
    """Order models as the API does: by release date, and those without one at the end, by ID."""
    by_id = sorted(entries, key=lambda entry: entry["id"])
    return sorted(by_id, key=lambda entry: entry.get("created_at", UNKNOWN_TIME), reverse=True)


def page(
    entries: Sequence[Mapping[str, Any]],
    *,
    limit: int = DEFAULT_LIMIT,
    after_id: str | None = None,
    before_id: str | None = None,
    lifecycles: Collection[str] = LISTED_LIFECYCLES,
) -> JSONObject:
    """Return the page after `after_id`, or the page before `before_id`, of models in some stages of their lifecycle.

    `has_more` refers to the direction of paging. Raise UnsupportedRequest for a limit outside 1 to 1000 and for an
    unknown ID.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise UnsupportedRequest(f"limit: must be between 1 and {MAX_LIMIT}", "limit")
    if after_id is not None:
        entries = entries[_position(entries, after_id, "after_id") + 1 :]
    if before_id is not None:
        entries = entries[: _position(entries, before_id, "before_id")]
    # After the cursors, whose models may be in another stage.
    entries = [entry for entry in entries if entry.get("lifecycle", "active") in lifecycles]
    is_backwards = before_id is not None and after_id is None
    shown = entries[-limit:] if is_backwards else entries[:limit]
    return {
        "data": [model(entry) for entry in shown],
        "has_more": len(entries) > len(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


def _position(entries: Sequence[Mapping[str, Any]], model_id: str, param: str) -> int:
    for position, entry in enumerate(entries):
        if entry["id"] == model_id:
            return position
    raise UnsupportedRequest(f"{param}: unknown model", param)
