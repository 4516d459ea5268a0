"""Fields of a provider in a tool call that the next request must return, carried in the ID of the tool call.

Gemini rejects a history without the thought signatures of its tool calls. A `tool_use` block has no field for them, and
clients return its ID unchanged.
"""

import base64
import binascii
import hashlib
import re
import string

from messages_api.backend.protocol import wire
from messages_api.backend.protocol.types import JSONObject

_SIGNATURE = "__thought__"
_OTHER = "__extra__"
_ALPHANUMERIC = string.digits + string.ascii_letters
_FORMATS = {"40_characters": re.compile(r".{1,40}", re.DOTALL), "9_alphanumeric": re.compile(r"[a-zA-Z0-9]{9}")}


def with_extra(tool_id: str, extra: JSONObject) -> str:
    """Return the ID that carries the fields."""
    if not extra:
        return tool_id
    signature = _signature(extra)
    if signature is not None:
        return f"{tool_id}{_SIGNATURE}{signature}"
    return f"{tool_id}{_OTHER}{base64.urlsafe_b64encode(wire.encode(extra)).decode().rstrip('=')}"


def split_id(tool_id: str) -> tuple[str, JSONObject]:
    """Return the upstream's own ID and the fields that the ID carries, which may be none."""
    own, mark, signature = tool_id.partition(_SIGNATURE)
    if mark:
        return own, {"extra_content": {"google": {"thought_signature": signature}}}
    own, mark, encoded = tool_id.partition(_OTHER)
    if not mark:
        return tool_id, {}
    try:
        extra = wire.decode(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, binascii.Error):
        return tool_id, {}
    return (own, extra) if isinstance(extra, dict) else (tool_id, {})


def upstream_id(tool_id: str, id_format: str) -> str:
    """Return the upstream's own ID of a tool call, or one derived from it where the upstream does not accept it."""
    own, _ = split_id(tool_id)
    accepted = _FORMATS.get(id_format)
    if accepted is None or accepted.fullmatch(own):
        return own
    digest = hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()
    if id_format == "40_characters":
        return f"call_{digest[:32]}"
    number, characters = int(digest, 16), ""
    while len(characters) < 9:
        number, position = divmod(number, len(_ALPHANUMERIC))
        characters += _ALPHANUMERIC[position]
    return characters


def _signature(extra: JSONObject) -> str | None:
    """Return Gemini's thought signature if the fields consist of it."""
    match extra:
        case {"extra_content": {"google": {"thought_signature": str(signature), **more}, **others}, **rest} if not (
            more or others or rest
        ):
            return signature
    return None
