"""Random streams: what upstreams interleave, repeat or leave out never changes the content."""

import json
import random
from typing import Any

import pytest

from messages_api.backend.protocol.relay import AnthropicDecoder
from messages_api.backend.protocol.whole import message_of
from tests.messages_api.backend.protocol.streams import (
    REQUEST,
    call,
    check_grammar,
    chunk,
    counting_ids,
    decoder,
    fragment,
)

SEEDS = range(0, 3_000, 100)
STARTS: dict[str, Any] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
    "tool_use": {"type": "tool_use", "name": "n", "input": {}},
}
DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": REQUEST["model"], "content": []}


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return a JSON value with repeated keys, braces in texts and halves of characters."""
    kind = chance.random()
    if depth < 3 and kind < 0.45:
        return {chance.choice(["a", "{", 'a"b', "ab"]): value(chance, depth + 1) for _ in range(chance.randint(0, 2))}
    if depth < 3 and kind < 0.6:
        return [value(chance, depth + 1) for _ in range(chance.randint(0, 2))]
    return chance.choice([1, "a", '{"a":', "}", "\\", "", None, True, "\U0001f600"])


def pieces_of(text: str, chance: random.Random) -> list[str]:
    pieces = []
    while text:
        length = chance.randint(1, chance.choice([2, 5, 20]))
        pieces.append(text[:length])
        text = text[length:]
    return pieces


def block_events(index: int, chance: random.Random) -> tuple[str, str, list[Any]]:
    """Return the kind and the content of a block, and its events, which may lack the stop."""
    kind = chance.choice(sorted(STARTS))
    content = json.dumps({"a": value(chance)}) if kind == "tool_use" else chance.choice(["a", "bc d", "\U0001f600 e"])
    delta, field = DELTAS[kind]
    block = {**STARTS[kind], "id": f"t{index}"} if kind == "tool_use" else STARTS[kind]
    events: list[Any] = [{"type": "content_block_start", "index": index, "content_block": block}]
    events += [
        {"type": "content_block_delta", "index": index, "delta": {"type": delta, field: piece}}
        for piece in pieces_of(content, chance)
    ]
    if chance.random() < 0.8:
        events.append({"type": "content_block_stop", "index": index})
    return kind, content, events


def interleaved(sequences: list[list[Any]], chance: random.Random) -> list[Any]:
    """Return the events of all blocks in a random order. Blocks start in their order."""
    queues = [list(sequence) for sequence in sequences]
    started, events = 0, []
    while open_queues := [queue for queue in queues[: started + 1] if queue]:
        queue = chance.choice(open_queues)
        started += queue[0]["type"] == "content_block_start"
        events.append(queue.pop(0))
    return events


@pytest.mark.parametrize("first_seed", SEEDS)
def test_interleaved_blocks_keep_their_content(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 100):
        chance = random.Random(seed)
        blocks = [block_events(index, chance) for index in range(chance.randint(1, 4))]
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
        start = {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 3}}}
        stream = AnthropicDecoder(REQUEST, ids=counting_ids())

        sent = [start, *interleaved([events for _, _, events in blocks], chance), end]
        passed = [event for item in sent for event in stream.feed(item)] + stream.eof()

        check_grammar(passed)
        content = message_of(passed)["content"]
        for kind in ("text", "thinking"):
            expected = sorted("".join(text for block, text, _ in blocks if block == kind))
            assert sorted("".join(block[kind] for block in content if block["type"] == kind)) == expected, seed
        inputs = [json.loads(text) for kind, text, _ in blocks if kind == "tool_use"]
        assert [block["input"] for block in content if block["type"] == "tool_use"] == inputs, seed


@pytest.mark.parametrize("first_seed", SEEDS)
def test_arguments_survive_however_they_are_sent(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 100):
        chance = random.Random(seed)
        arguments = {chance.choice(["a", "ab", "{"]): value(chance)}
        text = json.dumps(arguments, ensure_ascii=chance.random() < 0.5, separators=chance.choice([(",", ":"), None]))
        pieces = pieces_of(text, chance)
        way = chance.choice(["pieces", "longer each time", "repeated"])
        if way == "longer each time":
            pieces = ["".join(pieces[: i + 1]) for i in range(len(pieces))]
        elif way == "repeated":
            pieces.append(text)
        stream = decoder(buffer_tool_calls=chance.random() < 0.3)

        frames = [call(fragment(piece, id="c1", name="t")) for piece in pieces]
        events = [event for frame in (*frames, chunk(finish="tool_calls")) for event in stream.feed(frame)]
        events += stream.done()

        check_grammar(events)
        assert message_of(events)["content"][0]["input"] == arguments, (seed, way)
