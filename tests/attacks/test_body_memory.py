"""Unfinished bodies of one key, and of all keys, take a bounded part of the memory of each worker."""

import select
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from keys.models import APIKey
from tests.attacks.memory import resident_mib
from tests.support.gateway import Gateway, read_until, wait_until

ENVELOPE, COUNT = "/api/v1/messages", "/api/anthropic/v1/messages/count_tokens"
MIB = 2**20
SIZE = 30 * MIB
CONNECTIONS = 30
WORKER_MIB = 60
"""What the worker may need besides the bodies, such as the pieces that are being read."""


def send_unfinished(connection: socket.socket) -> None:
    """Send all of a body but its last byte."""
    with suppress(OSError):  # the gateway stops reading a body that it does not want
        piece = b"a" * MIB
        for _ in range(SIZE // MIB - 1):
            connection.sendall(piece)
        connection.sendall(piece[:-10])


def flood(gateway: Gateway, path: str, raw_keys: list[str], *, held: int) -> tuple[Counter[int | None], float]:
    """Send unfinished bodies with each key in turn, of which the workers wait for `held` at most.

    Return the statuses, and by how much the memory of the worker that needs most has grown while all wait.
    """
    before = resident_mib(gateway.server)
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        connections = []
        for number in range(CONNECTIONS * len(before)):
            gateway.raw_key = raw_keys[number % len(raw_keys)]
            connections.append(stack.enter_context(gateway.begin(path, length=SIZE)))
        list(pool.map(send_unfinished, connections))
        statuses = statuses_of(connections, responses=len(connections) - held)
        grown = max(after - was for after, was in zip(resident_mib(gateway.server), before, strict=True))
    print(f"{path} with {len(raw_keys)} keys: {dict(statuses)}, {grown:.0f} MiB")
    return statuses, grown


def statuses_of(connections: list[socket.socket], *, responses: int) -> Counter[int | None]:
    """Return the statuses once there are so many responses and no more within a second; None for the others."""
    statuses: dict[socket.socket, int] = {}
    deadline = time.monotonic() + 30
    while True:
        readable, _, _ = select.select([each for each in connections if each not in statuses], [], [], 1.0)
        for each in readable:
            statuses[each] = int(read_until(each, b"\r\n\r\n").split()[1])
        if not readable and (len(statuses) >= responses or time.monotonic() > deadline):
            return Counter(statuses.get(each) for each in connections)


def assert_bounded(statuses: Counter[int | None], *, bodies: int, rejected: int, workers: int) -> None:
    """Assert that no worker waits for more bodies, that one waits for as many, and that the others are rejected."""
    assert set(statuses) == {None, rejected}
    assert bodies <= statuses[None] <= bodies * workers


def issue(gateway: Gateway, count: int) -> list[str]:
    return [APIKey.objects.issue(name=f"{number}", owner=gateway.owner)[1] for number in range(count)]


@pytest.fixture
def workers(gateway: Gateway) -> int:
    return len(gateway.server.worker_pids())


def test_a_key_with_one_request_per_minute_holds_one_body(gateway: Gateway) -> None:
    gateway.key.requests_per_minute = 1
    gateway.key.save()

    statuses, grown = flood(gateway, ENVELOPE, [gateway.raw_key], held=1)

    assert set(statuses) == {None, 429} and statuses[None] == 1
    assert grown < SIZE / MIB + WORKER_MIB


@pytest.mark.parametrize("path", [ENVELOPE, COUNT])
def test_the_bodies_of_one_key_are_bounded(gateway: Gateway, workers: int, path: str) -> None:
    statuses, grown = flood(gateway, path, [gateway.raw_key], held=4 * workers)

    assert_bounded(statuses, bodies=4, rejected=429, workers=workers)  # 128 MiB
    assert grown < 128 + WORKER_MIB
    wait_until(lambda: gateway.post(ENVELOPE, large(SIZE)).status == 200)  # all is released
    gateway.settled(1)


def test_the_bodies_of_all_keys_are_bounded(gateway: Gateway, workers: int) -> None:
    keys = issue(gateway, CONNECTIONS)

    statuses, grown = flood(gateway, ENVELOPE, keys, held=17 * workers)

    assert_bounded(statuses, bodies=17, rejected=503, workers=workers)  # 512 MiB
    assert grown < 512 + WORKER_MIB
    wait_until(lambda: gateway.post(ENVELOPE, large(SIZE)).status == 200)


def test_small_requests_are_served_beside_them(gateway: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(gateway.begin(ENVELOPE, length=SIZE))
        wait_until(lambda: gateway.post(ENVELOPE, large(MIB * 10)).status == 429)

        assert [gateway.post(ENVELOPE, large(50_000)).status for _ in range(3)] == [200] * 3


def large(size: int) -> dict[str, object]:
    return {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "a" * (size - 200)}]}
