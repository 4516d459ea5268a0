"""Clients that send or read slowly, or not at all: each is disconnected, and none keeps others from being served."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from tests.attacks.dead_connections import KINDS, LARGE_FILE, Flood, Kind, get
from tests.support import ROOT
from tests.support.gateway import Gateway, GatewayServer, read_until, wait_until
from tests.upstream import Chunk, Head, RecordedRequest, ScriptedUpstream, WaitForPeer, frames_of, streamed
from tests.upstream.steps import Step

WORKERS = 2 if connection.vendor == "postgresql" else 1
MAX_API, MAX_PAGES, MAX_CONNECTIONS = 10, 5, 40
"""Budgets of each worker in the short form."""
FLOOD, FLOOD_AT_LENGTH = 200, 2_010
"""Dead connections: more than all workers may have, and the number that once took the default settings down."""
SERVED_WITHIN_S = 3.0
MAX_GAP_S = 1.0  # 5 s where a worker serves pages until none is waiting
DEADLINE_S = 1
PATH = "/api/v1/messages"
MODELS = "/api/anthropic/v1/models"
REQUEST = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
SSE = {"content-type": "text/event-stream"}
LISTENING = "0A"  # state of a socket in /proc/net/tcp
TRIES = 3  # other processes of a busy machine hold a worker up as well


@pytest.fixture(scope="module")
def small_server(django_db_setup: None, static_files: None, at_length: bool) -> Iterator[GatewayServer]:
    """A gateway with small budgets; with the default ones at length."""
    budgets = {
        "MAX_CONNECTIONS": str(MAX_CONNECTIONS),
        "MAX_API_REQUESTS": str(MAX_API),
        "MAX_PAGE_REQUESTS": str(MAX_PAGES),
        "CLIENT_IDLE_TIMEOUT_S": "60",
    }
    with GatewayServer(WEB_CONCURRENCY=str(WORKERS), **({} if at_length else budgets)) as server:
        yield server


@pytest.fixture(scope="module")
def impatient_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    """A gateway with room for all and short deadlines."""
    with GatewayServer(
        WEB_CONCURRENCY=str(WORKERS),
        CLIENT_IDLE_TIMEOUT_S=str(DEADLINE_S),
        CLIENT_SEND_TIMEOUT_S=str(DEADLINE_S),
        CLIENT_BODY_TIMEOUT_S=str(DEADLINE_S),
    ) as server:
        yield server


@pytest.fixture
def small(transactional_db: None, small_server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    return Gateway(small_server, upstream, owner)


@pytest.fixture
def impatient(
    transactional_db: None, impatient_server: GatewayServer, upstream: ScriptedUpstream, owner: User
) -> Gateway:
    return Gateway(impatient_server, upstream, owner)


def open_stream(request: RecordedRequest) -> list[Step]:
    """Return the beginning of a stream that does not end."""
    return [Head(headers=SSE), *(Chunk(frame) for frame in frames_of(request)[:3]), WaitForPeer()]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_api_responds_beside_dead_connections(small: Gateway, kind: Kind, at_length: bool) -> None:
    with Flood(small.port, kind, FLOOD_AT_LENGTH if at_length else FLOOD):
        small.request("GET", "/livez", timeout=60)  # the queue of the listening socket is served first
        wait_until(lambda: [small.request("GET", MODELS).status for _ in range(5)] == [200] * 5)  # by each worker
        took_s = []
        for _ in range(3):
            started_at = time.monotonic()
            assert small.request("GET", "/livez").status == 200
            assert small.request("GET", MODELS).status == 200
            took_s.append(time.monotonic() - started_at)
        assert statistics.median(took_s) < SERVED_WITHIN_S  # a busy machine delays one of them
        if not at_length:
            pids = small.server.worker_pids()
            # Sooner than CLIENT_IDLE_TIMEOUT_S.
            wait_until(lambda: clients_of(pids, small.port) <= WORKERS * MAX_CONNECTIONS, within_s=30)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_slow_client_is_disconnected(impatient: Gateway, kind: Kind) -> None:
    pids = impatient.server.worker_pids()
    impatient.post(PATH, REQUEST)  # opens what stays open: database, upstream
    with Flood(impatient.port, kind, 3):
        wait_until(lambda: queued(impatient.port) == 0 == clients_of(pids, impatient.port), within_s=30)


def clients_of(pids: list[int], port: int) -> int:
    """Return the number of client connections that the processes have open."""
    links = [link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()]
    own = {os.readlink(link) for link in links if link.exists() or link.is_symlink()}
    return sum(f"socket:[{line[9]}]" in own for line in sockets_of(port) if line[3] != LISTENING)


def queued(port: int) -> int:
    """Return the number of connections that no process has accepted."""
    return sum(int(line[4].partition(":")[2], 16) for line in sockets_of(port) if line[3] == LISTENING)


def sockets_of(port: int) -> list[list[str]]:
    """Return the sockets at a port, as the kernel lists them."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [line for line in lines if line[1].endswith(f":{port:04X}")]


def test_pages_have_a_budget_of_their_own(small: Gateway) -> None:
    with Flood(small.port, KINDS["unread static file"], FLOOD):
        wait_until(lambda: small.request("GET", "/admin/login/").status == 503)
        rejected = small.request("GET", "/admin/login/")
        served = small.post(PATH, REQUEST)

        assert served.status == 200
        if rejected.status == 503:
            assert rejected.headers["retry-after"] == "1"
        # A client that reads takes the place of one that has not read for two seconds.
        wait_until(lambda: small.request("GET", "/admin/login/").status == 200)


def test_api_requests_have_a_budget_of_their_own(small: Gateway) -> None:
    small.upstream.queue(open_stream, times=None)
    with ExitStack() as opened:
        heads = []
        for _ in range(2 * WORKERS * MAX_API):
            stream = opened.enter_context(small.open(PATH, {**REQUEST, "stream": True}))
            heads.append(read_until(stream, b"\r\n\r\n").split(b" ", 2)[1])

        assert WORKERS * MAX_API // 2 <= heads.count(b"200") <= WORKERS * MAX_API
        assert set(heads) == {b"200", b"503"}
        answers = [small.post(PATH, {**REQUEST, "messages": "x" * 30_000}) for _ in range(5)]
        for rejected in (answer for answer in answers if answer.status == 503):
            assert rejected.json()["data"]["error"]["type"] == "overloaded_error"
            assert rejected.headers["retry-after"] == "1"
            assert rejected.headers["request-id"].startswith("req_")
        assert [small.request("GET", path).status for path in ("/livez", "/admin/login/", LARGE_FILE)] == [200] * 3
    wait_until(lambda: small.request("GET", MODELS).status == 200)


def test_pipelined_pages_do_not_hold_up_a_stream(impatient: Gateway) -> None:
    gaps_s = []
    for _ in range(TRIES):
        gaps_s.append(longest_gap_s(impatient))
        if gaps_s[-1] < MAX_GAP_S:
            break
    assert min(gaps_s) < MAX_GAP_S


def longest_gap_s(gateway: Gateway) -> float:
    """Read a stream beside clients that pipeline pages. Return the longest time between two reads."""
    gateway.upstream.queue(long_stream)
    gaps = []
    with gateway.open(PATH, {**REQUEST, "stream": True}) as stream:
        read_until(stream, b"data: ")
        with Flood(gateway.port, Kind(first=get("/admin/login/") * 50), 40):
            last = time.monotonic()
            while b"[DONE]" not in stream.recv(65_536):
                gaps.append(time.monotonic() - last)
                last = time.monotonic()
    assert len(gaps) > 10
    return max(gaps)


def long_stream(request: RecordedRequest) -> list[Step]:
    """Return a stream of three seconds."""
    first, piece, *rest = frames_of(request)
    return streamed([first, *[piece] * 60, *rest], every_s=0.05)


def test_unread_pages_occupy_no_database_connection(gateway: Gateway) -> None:
    """With PostgreSQL, each would keep one of the pool's eight. The pages look for a session."""
    with Flood(gateway.port, KINDS["unread pages"], 12):
        took_s = []
        for _ in range(8):
            started_at = time.monotonic()
            assert gateway.request("GET", "/readyz").status == 200
            took_s.append(time.monotonic() - started_at)
            time.sleep(0.5)
    assert statistics.median(took_s) < SERVED_WITHIN_S


def test_connections_leave_files_for_upstreams() -> None:
    """With few open files, the budgets shrink: connections must not take those of upstreams."""
    script = (
        "import django; django.setup()\n"
        "from project.server import open_files\n"
        "from project.server.connections import Kind\n"
        "open_files.raise_limit()\n"
        "budgets, total = open_files.affordable({Kind.API: 2000, Kind.PAGE: 200}, total=2500)\n"
        "print(total + budgets[Kind.API] + open_files.OTHER_FILES, total - sum(budgets.values()))\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 1_024)),
    )
    files, spare = map(int, done.stdout.split())
    assert 900 < files <= 1_024 and spare > 0
