"""A busy worker does not blame the upstream for its own delays."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, wait_until

PATH = "/api/v1/messages"
BODY = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
CONNECT_TIMEOUT_S = 1.5
SYN_SENT, ESTABLISHED = "02", "01"
COMPLETION = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}


class FullListener:
    """A port that accepts no connection until `accept_queued` is called."""

    def __init__(self, stack: ExitStack) -> None:
        self.socket = stack.enter_context(socket.socket())
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(0)
        self.socket.settimeout(30)
        self.port = self.socket.getsockname()[1]
        self._queued = 0
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.3)
            try:
                client.connect(("127.0.0.1", self.port))
            except TimeoutError:
                client.close()
                return
            self._queued += 1

    def accept_queued(self) -> None:
        for _ in range(self._queued):
            self.socket.accept()[0].close()

    def states(self) -> set[str]:
        """Return the states of the connections towards this port, as the kernel lists them."""
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {line[3] for line in lines if int(line[2].partition(":")[2], 16) == self.port}


@pytest.fixture
def listener() -> Iterator[FullListener]:
    with ExitStack() as stack:
        yield FullListener(stack)


def serve(listener: FullListener) -> None:
    """Accept a connection and respond to its request."""
    connection = listener.socket.accept()[0]
    with connection:
        connection.settimeout(10)
        with connection.makefile("rb") as received:
            received.readline()
            received.read(int(http.client.parse_headers(received)["Content-Length"]))
        body = json.dumps(COMPLETION).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def test_a_worker_that_was_busy_looks_at_the_socket_before_a_connect_timeout(
    gateway: Gateway, listener: FullListener
) -> None:
    """SIGSTOP makes the worker busy for longer than the connect timeout; meanwhile the kernel connects."""
    gateway.configure_upstream(
        "openai", base_url=f"http://127.0.0.1:{listener.port}", connect_timeout_s=CONNECT_TIMEOUT_S
    )
    workers = gateway.server.worker_pids()
    with ThreadPoolExecutor(1) as client:
        response = client.submit(gateway.post, PATH, BODY)
        wait_until(lambda: SYN_SENT in listener.states())
        began = time.monotonic()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            listener.accept_queued()
            wait_until(lambda: listener.states() & {SYN_SENT, ESTABLISHED} == {ESTABLISHED})
            wait_until(lambda: time.monotonic() > began + CONNECT_TIMEOUT_S + 0.2)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        serve(listener)

        assert response.result().status == 200
    assert len(gateway.record().attempts) == 1


def test_an_upstream_that_accepts_no_connection_still_times_out(gateway: Gateway, listener: FullListener) -> None:
    gateway.configure_upstream(
        "openai", base_url=f"http://127.0.0.1:{listener.port}", connect_timeout_s=0.5, request_timeout_s=1.2
    )

    began = time.monotonic()
    response = gateway.post(PATH, BODY)

    assert response.status == 502
    assert 0.5 <= time.monotonic() - began < 10  # 127 s without a timeout
    assert gateway.record().error_reason == "connect_timeout:0.5"
