"""A real gateway for tests: gunicorn with its gevent worker in a separate process."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from copy import copy
from pathlib import Path
from typing import IO, Any, Self

from django.contrib.auth.models import User
from django.db import connection

from keys.models import APIKey, UsageRecord
from messages_api.backend.endpoint import Target
from messages_api.models import Route, RouteTarget, Upstream
from messages_api.routing.route_table import routes
from tests.support import ROOT
from tests.support.environment import STATE_DIR
from tests.upstream import ScriptedUpstream

READY_WITHIN_S = 60.0  # takes 2 s; ten times longer on a machine that is busy with other tests


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], *, within_s: float = 15.0) -> Any:
    """Return the first true value of a condition. Raise TimeoutError without one in time."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(0.02)
    return value


class GatewayServer:
    """A gunicorn master and its workers on the test database."""

    def __init__(self, **environment: str) -> None:
        self.port = free_port()
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = Path(STATE_DIR) / f"gateway-{self.port}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        ended = self._process.poll() if self._process else None
        self.stop()
        if ended is not None:
            raise RuntimeError(f"the gateway ended by itself with status {ended}: {self.log_path.read_text()[-4000:]}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        try:
            wait_until(self._is_ready, within_s=READY_WITHIN_S)
        except BaseException:
            self.stop()  # `__exit__` is not called: it would outlive the tests
            raise

    def launch(self) -> None:
        """Start it without waiting."""
        environment = {
            **os.environ,
            "BIND": f"127.0.0.1:{self.port}",
            "DATABASE_URL": database_url(),
            "GRACEFUL_TIMEOUT_S": "10",
            **self._environment,
        }
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "gunicorn",
            "-c",
            str(ROOT / "project" / "server" / "gunicorn.py"),
        ]
        with self.open_log() as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def open_log(self) -> AbstractContextManager[IO[bytes]]:
        """Open the file for its output."""
        return self.log_path.open("ab")

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the gateway ended: {self.log_path.read_text()[-4000:]}")
        try:
            return get(self.port, "/readyz").status == 200
        except OSError:  # not listening, or listening without a worker that accepts: a busy machine loads it slowly
            return False

    def stop(self, *, with_signal: int = signal.SIGTERM, within_s: float = 20.0) -> int:
        """Send a signal and return the exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(with_signal)
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def worker_pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children]


def database_url() -> str:
    """Return the URL of the test database."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    password = f":{settings['PASSWORD']}" if settings["PASSWORD"] else ""
    return f"postgres://{settings['USER']}{password}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"


class ApiResponse:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[str]:
        """Return the lines of a stream that are not empty."""
        return [line for line in self.body.decode().split("\n") if line]


def get(port: int, path: str) -> ApiResponse:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request("GET", path)
        return ApiResponse(client.getresponse())
    finally:
        client.close()


class Gateway:
    """Client of a running gateway, with a key and a scripted upstream."""

    def __init__(self, server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> None:
        self.server = server
        self.port = server.port
        self.url = f"http://127.0.0.1:{server.port}"
        self.owner = owner
        self.key, self.raw_key = APIKey.objects.issue(name="tests", owner=owner)
        self.upstream = upstream
        self.upstream_row = self.add_upstream("scripted", upstream.url, "openai")
        self.add_route("*", self.upstream_row)

    def at(self, server: GatewayServer) -> Self:
        """Return a client with the same key and routes for another server on the same database."""
        other = copy(self)
        other.server, other.port, other.url = server, server.port, f"http://127.0.0.1:{server.port}"
        return other

    def add_upstream(self, name: str, base_url: str, dialect: str, **fields: Any) -> Upstream:
        row = Upstream(name=name, base_url=base_url, dialect=dialect, **fields)
        row.set_credential("the-upstream-credential")
        row.save()
        return row

    def add_route(self, pattern: str, upstream: Upstream, *, model: str = "") -> Route:
        route = Route.objects.create(pattern=pattern)
        RouteTarget.objects.create(route=route, upstream=upstream, model=model)
        return route

    def configure_upstream(self, dialect: str, **fields: Any) -> None:
        """Change the dialect and other fields of the scripted upstream."""
        for name, value in {"dialect": dialect, **fields}.items():
            setattr(self.upstream_row, name, value)
        self.upstream_row.save()

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.raw_key}"}

    def post(
        self, path: str, body: object, *, headers: dict[str, str] | None = None, timeout: float = 30
    ) -> ApiResponse:
        """Send a POST and read its response to the end. A dict is sent as JSON, bytes unchanged."""
        return self.request("POST", path, _bytes(body), headers=headers, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> ApiResponse:
        """Send a request and read its response to the end. With the key unless `headers` are given."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # a response that does not wait for the body
                client.request(method, path, body, self.headers() if headers is None else headers)
            return ApiResponse(client.getresponse())
        finally:
            client.close()

    def open(self, path: str, body: object) -> socket.socket:
        """Send a POST and return its connection, to disconnect or read slowly. It must be closed."""
        raw = _bytes(body)
        return self.begin(path, length=len(raw), start=raw)

    def begin(self, path: str, *, length: int, start: bytes = b"") -> socket.socket:
        """Send the head of a POST and the start of its body, and return the connection. It must be closed."""
        head = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Content-Length: {length}"]
        head += [f"{name}: {value}" for name, value in self.headers().items()]
        connection = self.connect()
        connection.sendall("\r\n".join([*head, "", ""]).encode() + start)
        return connection

    def connect(self) -> socket.socket:
        """Open a connection. It must be closed."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def record(self, *, within_s: float = 5.0) -> UsageRecord:
        """Return the only usage record once it is settled."""
        wait_until(lambda: UsageRecord.objects.exclude(status="started").exists(), within_s=within_s)
        return UsageRecord.objects.get()

    def settled(self, count: int, *, within_s: float = 10.0) -> list[UsageRecord]:
        """Return all usage records once `count` are settled and none is open."""
        wait_until(
            lambda: (
                UsageRecord.objects.exclude(status="started").count() >= count
                and not UsageRecord.objects.filter(status="started").exists()
            ),
            within_s=within_s,
        )
        return list(UsageRecord.objects.all())


def targets_of(model: str) -> list[Target]:
    """Return the targets of a model for a key without an allowlist, by priority."""
    match = routes.table().find(model)
    return [routed.target for routed in match.usable(lambda name: True)] if match else []


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Return the bytes received until `mark` is among them."""
    received = b""
    while mark not in received:
        piece = connection.recv(65536)
        if not piece:
            raise AssertionError(f"the connection ended without {mark!r}: {received[-500:]!r}")
        received += piece
    return received


def events(lines: list[str]) -> Iterator[Any]:
    """Yield the JSON of the `data:` lines of a stream, except `[DONE]`."""
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))
