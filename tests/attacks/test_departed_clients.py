"""Clients that disconnect before their request is handled: no upstream is contacted for them."""

import json
import os
import signal
import socket
import struct

import pytest

from keys.models import UsageRecord
from tests.support.gateway import Gateway

CLIENTS = 20
BODY = json.dumps({"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}).encode()


@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/anthropic/v1/messages"])
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

    assert gateway.post(path, json.loads(BODY)).status == 200  # a client that stays is served
    records = gateway.settled(1)
    assert len(gateway.upstream.requests) == 1
    assert {record.status for record in records} <= {"completed", "client_closed"}


def test_a_reset_reaches_no_upstream(gateway: Gateway) -> None:
    for _ in range(CLIENTS):
        connection = gateway.open("/api/v1/messages", BODY)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    assert gateway.post("/api/v1/messages", json.loads(BODY)).status == 200
    gateway.settled(1)
    # A reset may arrive in the microseconds between the look at the socket and the connection to the upstream.
    assert len(gateway.upstream.requests) <= 1 + CLIENTS // 5
    assert not UsageRecord.objects.filter(status="failed").exists()
