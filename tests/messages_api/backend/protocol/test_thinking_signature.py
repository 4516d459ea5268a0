"""The gateway's own signatures of thinking, and signed thinking in the envelope API."""

from typing import Any

import pytest

from messages_api.backend.protocol.chunks import ChunkEncoder, completion_from_message
from messages_api.backend.protocol.completion import message_from_openai
from messages_api.backend.protocol.history_cleanup import clean_history
from messages_api.backend.protocol.openai_request import to_openai
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.thinking_signature import MARK, ThinkingSigner
from messages_api.backend.protocol.types import Event
from messages_api.backend.protocol.whole import events_of, message_of
from messages_api.backend.protocol.wire import decode
from tests.messages_api.backend.protocol.streams import REQUEST, check_grammar, chunk, counting_ids, decoder, text

SIGNER = ThinkingSigner(b"key")
MESSAGE = {"role": "assistant", "reasoning_content": "Hm.", "content": "Hello"}


def signed(thinking: str, signature: str | None = None) -> Any:
    return {"type": "thinking", "thinking": thinking, "signature": signature or SIGNER.signature(thinking)}


def test_thinking_of_a_complete_response_is_signed() -> None:
    response = {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}

    message = message_from_openai(response, request=REQUEST, ids=counting_ids(), signer=SIGNER)

    assert message["content"][0] == signed("Hm.")
    assert message["content"][0]["signature"].startswith(MARK)


def test_each_thinking_block_of_a_stream_is_signed_at_its_end() -> None:
    stream = decoder(signer=SIGNER)
    frames = [chunk({"reasoning": "H"}), chunk({"reasoning": "m."}), text("a"), chunk({"reasoning": "So"}), text("b")]

    events: list[Event] = [event for frame in frames for event in stream.feed(frame)] + stream.done()

    check_grammar(events)
    content = message_of(events)["content"]
    assert content == [signed("Hm."), {"type": "text", "text": "a"}, signed("So"), {"type": "text", "text": "b"}]


def test_without_a_signer_thinking_is_unsigned() -> None:
    stream = decoder()

    events = stream.feed(chunk({"reasoning": "Hm."})) + stream.done()

    assert "signature_delta" not in str(events)


@pytest.mark.parametrize(
    ("block", "sent"),
    [
        pytest.param(signed("Hm."), "Hm.", id="own"),
        pytest.param(signed("Ha.", SIGNER.signature("Hm.")), None, id="another text"),
        pytest.param(signed("Hm.", ThinkingSigner(b"other").signature("Hm.")), None, id="another key"),
        pytest.param(signed("Hm.", "c2ln"), "Hm.", id="of Anthropic"),
    ],
)
def test_signed_thinking_that_comes_back_is_reasoning(block: Any, sent: str | None) -> None:
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [block, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]
    request: Any = {**REQUEST, "messages": history}

    body, _ = to_openai(request, Profile(reasoning_history="reasoning_content"), signer=SIGNER)

    assert body["messages"][1].get("reasoning_content") == sent


def test_own_signatures_never_reach_anthropic() -> None:
    answer = {"role": "assistant", "content": [signed("Hm."), {"type": "text", "text": "b"}]}
    kept = {"role": "assistant", "content": [{"type": "text", "text": "b"}]}

    assert clean_history({"messages": [answer]}) == (True, {"messages": [kept]})


BLOCKS = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "eHg="},
    {"type": "thinking", "thinking": "So", "signature": ""},
    {"type": "text", "text": "Hello"},
]
ANTHROPIC: Any = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": BLOCKS,
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


@pytest.mark.parametrize(("with_signatures", "blocks"), [(True, BLOCKS[:2]), (False, None)])
def test_signed_thinking_is_returned_as_blocks(with_signatures: bool, blocks: Any) -> None:
    completion = completion_from_message(ANTHROPIC, created=1, with_signatures=with_signatures)
    encoder = ChunkEncoder(created=1, with_signatures=with_signatures)
    lines = [line for event in events_of(ANTHROPIC) for line in encoder.feed(event)]

    deltas = [decode(line[6:])["choices"][0]["delta"] for line in lines if not line.startswith(b"data: [DONE]")]
    streamed = [delta["thinking_blocks"] for delta in deltas if "thinking_blocks" in delta]
    message = completion["choices"][0]["message"]
    assert message.get("thinking_blocks") == (blocks or None)
    assert streamed == ([blocks] if blocks else [])  # in one piece, as the helpers of the OpenAI SDKs need it
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == message["reasoning_content"] == "Hm.So"
