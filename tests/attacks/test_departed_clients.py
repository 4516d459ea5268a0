"""Clients that disconnect before their request is handled: no upstream is contacted for them."""

import json
import os
import signal
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest

from keys.models import UsageRecord
from tests.support.gateway import Gateway, wait_until
from tests.support.outage import writes_held_up

CLIENTS = 20
LEDGER_UNAVAILABLE = 503  # on a machine that is so busy that a commit takes more than a second
PATH = "/api/v1/messages"
BODY = json.dumps({"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}).encode()


@pytest.mark.parametrize("path", [PATH, "/api/anthropic/v1/messages"])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_disconnected_client_reaches_no_upstream(gateway: Gateway, path: str, streamed: bool) -> None:
    """The worker is stopped meanwhile, so that each client has closed before its request is read."""
    body = json.dumps({**json.loads(BODY), "stream": streamed})
    workers = gateway.server.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(CLIENTS):
            gateway.open(path, body.encode()).close()
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)

    wait_until(lambda: gateway.post(path, json.loads(BODY)).status == 200)  # a client that stays is served
    records = gateway.settled(1)
    assert len(gateway.upstream.requests) == 1
    admitted = [record for record in records if record.http_status != LEDGER_UNAVAILABLE]
    assert {record.status for record in admitted} <= {"completed", "client_closed"}


def test_a_reset_reaches_no_upstream(gateway: Gateway) -> None:
    """Each client resets its connection while its request waits for the ledger, so after it was read."""
    with ExitStack() as clients, writes_held_up():
        connections = [clients.enter_context(gateway.open(PATH, BODY)) for _ in range(CLIENTS)]
        wait_until(lambda: not any(map(is_unread, connections)))
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    wait_until(lambda: gateway.post(PATH, json.loads(BODY)).status == 200)
    gateway.settled(1)
    assert len(gateway.upstream.requests) == 1
    assert not UsageRecord.objects.filter(status="failed").exists()


def is_unread(connection: socket.socket) -> bool:
    """Whether the gateway has not read all that was sent to it, as the kernel lists it."""
    here, there = (f":{address[1]:04X}" for address in (connection.getsockname(), connection.getpeername()))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [queues] = [line[4] for line in lines if line[1].endswith(there) and line[2].endswith(here)]
    return not queues.endswith(":00000000")
