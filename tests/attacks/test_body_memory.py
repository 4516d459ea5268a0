"""Unfinished bodies of one key, and of all keys, take a bounded part of a worker's memory."""

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from keys.models import APIKey
from tests.support.gateway import Gateway, read_until, wait_until

ENVELOPE, COUNT = "/api/v1/messages", "/api/anthropic/v1/messages/count_tokens"
MIB = 2**20
SIZE = 30 * MIB
CONNECTIONS = 30
WORKER_MIB = 60
"""What the worker may need besides the bodies, such as the pieces that are being read."""


def memory_mib(gateway: Gateway) -> float:
    """Return the resident memory of all workers."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in gateway.server.worker_pids()]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in status) / 1024


def send_unfinished(connection: socket.socket) -> int | None:
    """Send all of a body but its last byte. Return the status if there is a response, else None."""
    with suppress(OSError):  # the gateway stops reading a body that it does not want
        piece = b"a" * MIB
        for _ in range(SIZE // MIB - 1):
            connection.sendall(piece)
        connection.sendall(piece[:-10])
    connection.settimeout(1.0)
    try:
        return int(read_until(connection, b"\r\n\r\n").split()[1])
    except TimeoutError:
        return None


def flood(gateway: Gateway, path: str, raw_keys: list[str]) -> tuple[Counter[int | None], float]:
    """Send unfinished bodies with each key in turn. Return the statuses and the growth of the memory while all wait."""
    before = memory_mib(gateway)
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        connections = []
        for number in range(CONNECTIONS):
            gateway.raw_key = raw_keys[number % len(raw_keys)]
            connections.append(stack.enter_context(gateway.begin(path, length=SIZE)))
        statuses = Counter(pool.map(send_unfinished, connections))
        grown = memory_mib(gateway) - before
    print(f"{path} with {len(raw_keys)} keys: {dict(statuses)}, {grown:.0f} MiB")
    return statuses, grown


def issue(gateway: Gateway, count: int) -> list[str]:
    return [APIKey.objects.issue(name=f"{number}", owner=gateway.owner)[1] for number in range(count)]


def test_a_key_with_one_request_per_minute_holds_one_body(gateway: Gateway) -> None:
    gateway.key.requests_per_minute = 1
    gateway.key.save()

    statuses, grown = flood(gateway, ENVELOPE, [gateway.raw_key])

    assert statuses == {None: 1, 429: CONNECTIONS - 1}
    assert grown < SIZE / MIB + WORKER_MIB


@pytest.mark.parametrize("path", [ENVELOPE, COUNT])
def test_the_bodies_of_one_key_are_bounded(gateway: Gateway, path: str) -> None:
    statuses, grown = flood(gateway, path, [gateway.raw_key])

    assert statuses == {None: 4, 429: CONNECTIONS - 4}  # 128 MiB
    assert grown < 128 + WORKER_MIB
    wait_until(lambda: gateway.post(ENVELOPE, large(SIZE)).status == 200)  # all is released
    gateway.settled(1)


def test_the_bodies_of_all_keys_are_bounded(gateway: Gateway) -> None:
    keys = issue(gateway, CONNECTIONS)

    statuses, grown = flood(gateway, ENVELOPE, keys)

    assert statuses == {None: 17, 503: CONNECTIONS - 17}  # 512 MiB
    assert grown < 512 + WORKER_MIB
    wait_until(lambda: gateway.post(ENVELOPE, large(SIZE)).status == 200)


def test_small_requests_are_served_beside_them(gateway: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(gateway.begin(ENVELOPE, length=SIZE))
        wait_until(lambda: gateway.post(ENVELOPE, large(MIB * 10)).status == 429)

        assert [gateway.post(ENVELOPE, large(50_000)).status for _ in range(3)] == [200] * 3


def large(size: int) -> dict[str, object]:
    return {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "a" * (size - 200)}]}
