"""No client opens or closes the circuit of an upstream for the other clients."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from keys.models import APIKey
from messages_api.models import Route, RouteTarget
from messages_api.routing.circuit_breaker import CONSECUTIVE_FAILURES, STATE_TTL_S
from tests.support.gateway import ApiResponse, Gateway
from tests.upstream import ScriptedUpstream, failure, replied

ENVELOPE, ANTHROPIC = "/api/v1/messages", "/api/anthropic/v1/messages"
POISON = "a request at which this upstream fails"


def asks(text: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": text}], **fields}


def fails_at_poison(request: Any) -> Any:
    return (failure(503) if POISON in str(request.body) else replied())(request)


class Clients:
    """Two clients of a gateway whose upstream fails at the requests of the first one, and has a fallback."""

    def __init__(self, gateway: Gateway, fallback: ScriptedUpstream) -> None:
        self._gateway = gateway
        self.upstream = gateway.upstream
        self.workers = len(gateway.server.worker_pids())
        self.upstream.queue(fails_at_poison, times=None)
        row = gateway.add_upstream("fallback", fallback.url, "openai")
        RouteTarget.objects.create(route=Route.objects.get(), upstream=row, priority=1)
        gateway.add_route("without-fallback", gateway.upstream_row)
        _, self._other_raw_key = APIKey.objects.issue(name="other", owner=gateway.owner)

    def attack(self, body: object, *, path: str = ENVELOPE) -> ApiResponse:
        return self._gateway.post(path, body)

    def other(self, body: object | None = None) -> str:
        """Return the upstream that serves a request of the other client."""
        headers = {"Authorization": f"Bearer {self._other_raw_key}"}
        response = self._gateway.post(ENVELOPE, body or asks(), headers=headers)
        assert response.status == 200
        return response.headers["x-gateway-target"].partition("/")[0]

    def open_circuit(self) -> int:
        """Fail with both clients until all workers skip the upstream. Return how many requests it received."""
        while self._failures():
            pass
        if self.workers > 1:
            time.sleep(2 * STATE_TTL_S)  # until the others have asked for the shared state again
        return len(self.upstream.requests)

    def _failures(self) -> int:
        before = len(self.upstream.requests)
        self.attack(asks(POISON))
        self.other(asks(POISON))
        return len(self.upstream.requests) - before


@pytest.fixture
def clients(gateway: Gateway) -> Iterator[Clients]:
    with ScriptedUpstream() as fallback:
        yield Clients(gateway, fallback)


def test_failing_requests_of_one_client_do_not_take_the_upstream_from_others(clients: Clients) -> None:
    for _ in range(10):
        clients.attack(asks(POISON))
        clients.attack(asks(POISON, model="without-fallback"))

    assert [clients.other() for _ in range(5)] == ["scripted"] * 5


def test_an_upstream_that_fails_for_two_clients_is_skipped_for_all(clients: Clients) -> None:
    """Each worker counts the failures that it sees. Those of one key may open its own circuit first."""
    received = clients.open_circuit()

    assert received == CONSECUTIVE_FAILURES if clients.workers == 1 else received <= 7 * clients.workers
    assert [clients.other() for _ in range(5)] == ["fallback"] * 5
    assert len(clients.upstream.requests) == received


@pytest.mark.parametrize("path", ["/count_tokens", ""], ids=["count_tokens", "max_tokens 0"])
def test_requests_that_ask_no_model_do_not_close_the_circuit(clients: Clients, path: str) -> None:
    clients.open_circuit()

    for _ in range(3):
        harmless = asks(model="without-fallback", max_tokens=0)
        assert clients.attack(harmless, path=ANTHROPIC + path).status == 200

    assert clients.other() == "fallback"


def test_token_counts_that_fail_do_not_open_the_circuit(gateway: Gateway, clients: Clients) -> None:
    gateway.configure_upstream("anthropic")
    for _ in range(5):
        assert clients.attack(asks(POISON), path=f"{ANTHROPIC}/count_tokens").status == 200  # by the fallback
        clients.attack(asks(POISON, model="without-fallback"), path=f"{ANTHROPIC}/count_tokens")

    assert clients.attack(asks()).headers["x-gateway-target"] == "scripted/m"
    assert clients.other() == "scripted"
