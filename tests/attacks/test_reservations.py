"""Reservations cover what an upstream may bill, wherever a body hides it."""

import json
from typing import Any

import pytest

from keys.models import Budget, ModelPrice
from tests.support.gateway import Gateway
from tests.upstream import Reply, replied

ENVELOPE, ANTHROPIC = "/api/v1/messages", "/api/anthropic/v1/messages"
BODY: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
LONG = "word " * 200_000
TOKENS = len(LONG) // 4
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "description": LONG}}}

HIDDEN: dict[str, Any] = {
    "a schema of the output": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "examples of a tool": {
        "tools": [{"name": "t", "input_schema": {"type": "object"}, "input_examples": [{"a": LONG}]}]
    },
    "the setting of a tool": {"tools": [{"type": "web_search_20250305", "name": "web_search", "novel": LONG}]},
    "a field of a block": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "novel": LONG}]}]},
    "metadata": {"metadata": {"user_id": LONG}},
}
UNKNOWN: dict[str, Any] = {
    "a block of an unknown type": {"messages": [{"role": "user", "content": [{"type": "novel", "x": {"y": [LONG]}}]}]},
    "an unknown field": {"novel": [LONG]},
}
PLACES = [
    *(pytest.param(path, HIDDEN[place], id=f"{place}, {path}") for place in HIDDEN for path in (ENVELOPE, ANTHROPIC)),
    *(pytest.param(ANTHROPIC, UNKNOWN[place], id=place) for place in UNKNOWN),
]


@pytest.mark.parametrize(("path", "fields"), PLACES)
def test_a_budget_covers_every_string_of_a_body(gateway: Gateway, path: str, fields: dict[str, Any]) -> None:
    gateway.configure_upstream("anthropic")
    Budget.objects.create(api_key=gateway.key, unit="tokens", period="month", amount=TOKENS)

    response = gateway.post(path, BODY | fields)

    assert response.status == 402, response.body
    assert not gateway.upstream.requests
    (record,) = gateway.settled(1)
    assert record.estimated_input_tokens is not None and record.estimated_input_tokens >= TOKENS


@pytest.mark.parametrize("name", ["cache_control", "cache\\u005fcontrol", "\\u0063ache_control"])
def test_a_cache_write_is_found_however_it_is_escaped(gateway: Gateway, name: str) -> None:
    """A cache write costs a hundred times the input: the budget is enough for the input alone."""
    gateway.configure_upstream("anthropic")
    ModelPrice.objects.create(model_pattern="m", input_price=1_000_000, cache_write_5m_price=100_000_000)
    Budget.objects.create(api_key=gateway.key, unit="usd", period="month", amount=10_000)
    text = "word " * 1_000
    plain = json.dumps(BODY | {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]})
    cached = plain.replace('"text": "word', f'"{name}": {{"type": "ephemeral"}}, "text": "word')

    assert gateway.post(ANTHROPIC, cached.encode()).status == 402
    assert gateway.post(ANTHROPIC, plain.encode()).status == 200
    gateway.settled(2)


@pytest.mark.parametrize("path", [ENVELOPE, ANTHROPIC])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_an_estimate_of_the_output_is_at_most_max_tokens(
    gateway: Gateway, path: str, streamed: bool, dialect: str
) -> None:
    """An upstream that reports no usage sends more than was asked for."""
    gateway.configure_upstream(dialect)
    gateway.upstream.queue(replied(Reply(["a" * 4_000], usage=None)))

    response = gateway.post(path, BODY | {"stream": streamed})

    assert response.status == 200
    (record,) = gateway.settled(1)
    assert (record.usage_source, record.output_tokens) == ("estimated", BODY["max_tokens"])
    assert f'tokens":{BODY["max_tokens"]}'.encode() in response.body.replace(b'" :', b'":').replace(b": ", b":")
