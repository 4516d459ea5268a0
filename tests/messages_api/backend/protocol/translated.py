"""Requests and their translation to OpenAI."""

from typing import Any

import pytest

from messages_api.backend.protocol.openai_request import UnsupportedRequest, to_openai
from messages_api.backend.protocol.profile import Profile
from tests.messages_api.backend.protocol.streams import REQUEST


def to_body(*, profile: dict[str, object] | None = None, **fields: object) -> tuple[Any, set[str]]:
    """Translate a minimal request with these fields. Return the new fields of its body, and the dropped ones."""
    body, dropped = to_openai({**REQUEST, **fields}, Profile.from_mapping(profile or {}))  # type: ignore[typeddict-item]
    assert len(set(dropped)) == len(dropped)
    smallest = {"model": "m1", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
    return {key: value for key, value in body.items() if smallest.get(key) != value}, set(dropped)


def to_messages(*turns: Any, profile: dict[str, object] | None = None, **fields: object) -> Any:
    """Return the upstream's messages for these `(role, content)` pairs."""
    messages = [{"role": role, "content": content} for role, content in turns]
    body, _ = to_openai({**REQUEST, "messages": messages, **fields}, Profile.from_mapping(profile or {}))  # type: ignore[typeddict-item]
    return body["messages"]


def error_of(*turns: Any, profile: dict[str, object] | None = None, **fields: object) -> UnsupportedRequest:
    """Return the error for a request with these turns, or with a minimal one."""
    with pytest.raises(UnsupportedRequest) as raised:
        to_messages(*(turns or [("user", "hi")]), profile=profile, **fields)
    assert str(raised.value) == raised.value.message
    return raised.value


def tool_use(id: str = "t1", **fields: object) -> Any:
    return {"type": "tool_use", "id": id, "name": "add", "input": {}, **fields}


def result(id: str = "t1", **fields: object) -> Any:
    return {"type": "tool_result", "tool_use_id": id, **fields}


def text(text: str, **fields: object) -> Any:
    return {"type": "text", "text": text, **fields}


def image(**source: object) -> Any:
    return {"type": "image", "source": source or {"type": "base64", "media_type": "image/png", "data": "QQ=="}}


IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}


def document(source: Any, **fields: object) -> Any:
    return {"type": "document", "source": source, **fields}


PDF = {"type": "base64", "media_type": "application/pdf", "data": "UERG"}
