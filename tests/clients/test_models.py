"""The model list, as the official client's own tests request it: with strict validation of every response.

Each test of `tests/api_resources/test_models.py` in the client's source has its counterpart here, except the IDs
`after_id` and `before_id`, which name no model of a real list.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.pagination import AsyncPage, SyncPage
from anthropic.types import ModelInfo
from anthropic.types.beta import BetaModelInfo

from messages_api.models import ModelCatalog
from tests.messages_api.backend.protocol.test_model_capabilities import CAPABILITIES
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.upstream import body_response

LISTED = [
    {"type": "model", "id": "claude-a", "display_name": "Claude A", "created_at": "2026-01-01T00:00:00Z"},
    {"type": "model", "id": "claude-b", "display_name": "Claude B", "created_at": "2026-02-01T00:00:00Z"},
    {"type": "model", "id": "claude-c", "display_name": "Claude C", "lifecycle": "retired", "max_tokens": 64_000}
    | {"capabilities": CAPABILITIES, "line": "sonnet", "allowed_fallback_models": ["claude-d"]},
    {"type": "model", "id": "claude-d", "display_name": "Claude D", "lifecycle": "deprecated", "max_input_tokens": 9},
]


@pytest.fixture
def options(gateway: Gateway) -> dict[str, Any]:
    """A gateway with four listed models: a route, and three names at an upstream with a pattern."""
    gateway.add_route("claude-b", gateway.upstream_row)
    gateway.configure_upstream("anthropic", model_names=["claude-a", "claude-c", "claude-d"])
    ModelCatalog.objects.create(
        upstream=gateway.upstream_row, base_url=gateway.upstream.url, entries=LISTED, due_at="2100-01-01T00:00:00Z"
    )
    return {
        "base_url": f"{gateway.url}/api/anthropic",
        "api_key": gateway.raw_key,
        "max_retries": 0,
        "_strict_response_validation": True,
    }


@pytest.fixture
def client(options: dict[str, Any]) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(**options) as client:
        yield client


def test_a_model_is_retrieved(client: anthropic.Anthropic) -> None:
    known = client.models.retrieve("claude-c")
    unlisted = client.models.retrieve("model_id", workspace_id="wrkspc_011CZkZaBF1tNoB5wlCeusgy")

    assert (known.display_name, known.lifecycle, known.max_tokens) == ("Claude C", "retired", 64_000)
    assert (unlisted.id, unlisted.lifecycle, unlisted.created_at.year) == ("model_id", "active", 1970)


def test_capabilities_are_read(client: anthropic.Anthropic) -> None:
    model, beta = client.models.retrieve("claude-c"), client.beta.models.retrieve("claude-c")

    assert model.capabilities is not None and beta.capabilities is not None
    assert model.capabilities.to_dict() == beta.capabilities.to_dict() == CAPABILITIES
    assert (model.line, beta.line, beta.allowed_fallback_models) == ("sonnet", "sonnet", ["claude-d"])
    assert client.models.retrieve("claude-a").capabilities is None


def test_raw_and_streamed_responses_are_read(client: anthropic.Anthropic) -> None:
    raw = client.models.with_raw_response.retrieve(model_id="model_id")
    assert raw.is_closed and isinstance(raw.parse(), ModelInfo)
    with client.models.with_streaming_response.retrieve(model_id="model_id") as streamed:
        assert not streamed.is_closed and isinstance(streamed.parse(), ModelInfo)

    raw_list = client.models.with_raw_response.list()
    assert raw_list.is_closed and isinstance(raw_list.parse(), SyncPage)
    with client.models.with_streaming_response.list() as streamed_list:
        assert not streamed_list.is_closed and isinstance(streamed_list.parse(), SyncPage)


def test_models_are_listed_in_pages_the_newest_first(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list(limit=1)] == ["claude-b", "claude-a", "claude-d"]
    page = client.models.list(
        after_id="claude-b",
        before_id="claude-d",
        lifecycle=["active"],
        limit=1,
        workspace_id="wrkspc_011CZkZaBF1tNoB5wlCeusgy",
    )

    assert ([model.id for model in page.data], page.first_id, page.last_id) == (["claude-a"], "claude-a", "claude-a")
    assert client.models.list(before_id="claude-d", limit=1).has_more is True


def test_retired_models_are_listed_on_request(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list(lifecycle=["retired"])] == ["claude-c"]
    assert [model.id for model in client.models.list(lifecycle=["deprecated", "retired"])] == ["claude-c", "claude-d"]
    with pytest.raises(anthropic.BadRequestError, match="lifecycle: expected active, deprecated, retired"):
        client.models.list(extra_query={"lifecycle": "new"})


def test_an_empty_id_is_rejected_by_the_client(client: anthropic.Anthropic) -> None:
    with pytest.raises(ValueError, match="Expected a non-empty value for `model_id`"):
        client.models.with_raw_response.retrieve(model_id="")


def test_beta_models_are_read(client: anthropic.Anthropic) -> None:
    assert isinstance(client.beta.models.retrieve("claude-a"), BetaModelInfo)
    assert [model.id for model in client.beta.models.list()] == ["claude-b", "claude-a", "claude-d"]


def test_the_asynchronous_client_reads_the_same(options: dict[str, Any]) -> None:
    async def read() -> None:
        async with anthropic.AsyncAnthropic(**options) as client:
            assert isinstance(await client.models.retrieve("model_id"), ModelInfo)
            page = await client.models.list(limit=2)
            assert isinstance(page, AsyncPage)
            assert [model.id async for model in page] == ["claude-b", "claude-a", "claude-d"]
            raw = await client.models.with_raw_response.list()
            assert isinstance(await raw.parse(), AsyncPage)
            async with client.models.with_streaming_response.retrieve("model_id") as streamed:
                assert isinstance(await streamed.parse(), ModelInfo)

    asyncio.run(read())


def test_an_unknown_cursor_is_an_invalid_request(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="after_id: unknown model"):
        client.models.list(after_id="after_id")


def test_a_worker_reads_the_list_in_the_background(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    gateway.upstream.queue(body_response({"data": LISTED}), times=None)

    with GatewayServer(MODEL_LIST_INTERVAL_S="3600") as server:
        other = gateway.at(server)
        with anthropic.Anthropic(base_url=f"{other.url}/api/anthropic", api_key=other.raw_key) as client:
            listed = wait_until(lambda: client.models.list().data, within_s=60)

    assert {model.id: model.lifecycle for model in listed} == {
        "claude-b": "active",
        "claude-a": "active",
        "claude-d": "deprecated",
    }
