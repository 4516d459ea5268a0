"""Pages of Anthropic's list of models."""

from collections.abc import Sequence

from messages_api.backend.protocol.types import JSONObject
from messages_api.backend.protocol.unsupported import UnsupportedRequest

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


def model(entry: JSONObject) -> JSONObject:
    """Return one model in Anthropic's format. `entry` has an `id` and optionally more of its fields."""
    defaults = {"type": "model", "id": entry["id"], "display_name": entry["id"], "created_at": "1970-01-01T00:00:00Z"}
    return defaults | {field: value for field, value in entry.items() if value is not None}


def page(
    entries: Sequence[JSONObject],
    *,
    limit: int = DEFAULT_LIMIT,
    after_id: str | None = None,
    before_id: str | None = None,
) -> JSONObject:
    """Return the page after `after_id`, or the page before `before_id`.

    `has_more` refers to the direction of paging. Raise UnsupportedRequest for a limit outside 1 to 1000 and for an
    unknown ID.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise UnsupportedRequest(f"limit: must be between 1 and {MAX_LIMIT}", "limit")
    if after_id is not None:
        entries = entries[_position(entries, after_id, "after_id") + 1 :]
    if before_id is not None:
        entries = entries[: _position(entries, before_id, "before_id")]
    is_backwards = before_id is not None and after_id is None
    shown = entries[-limit:] if is_backwards else entries[:limit]
    return {
        "data": [model(entry) for entry in shown],
        "has_more": len(entries) > len(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


def _position(entries: Sequence[JSONObject], model_id: str, param: str) -> int:
    for position, entry in enumerate(entries):
        if entry["id"] == model_id:
            return position
    raise UnsupportedRequest(f"{param}: unknown model", param)
