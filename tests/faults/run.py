"""Run of all faults: each row in both dialects, through both APIs, plain and streamed, through one gateway."""

import http.client
import itertools
import json
import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib.auth.models import User

from keys.models import APIKey, UsageRecord
from messages_api.models import Route, RouteTarget, Upstream
from tests.faults.expected import DIALECTS, Expected, of
from tests.faults.responses import ObservedResponse, read
from tests.faults.servers import Servers
from tests.faults.table import ROWS, Row
from tests.support.environment import STATE_DIR
from tests.support.gateway import ApiResponse, GatewayServer, wait_until
from tests.upstream import RecordedRequest

API_PATHS = {"envelope": "/api/v1/messages", "anthropic": "/api/anthropic/v1/messages"}
CREDENTIAL = "sk-the-credential-of-the-upstream"
TIMED_CONCURRENCY = 60
CONCURRENCY = 24
HEAVY_CONCURRENCY = 4
CLIENT_TIMEOUT_S = 60.0
IN_PATH = re.compile(r"/case-([A-Za-z0-9._-]+)/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One request: a row in one dialect, through one API, plain or streamed."""

    row: Row
    dialect: str
    api_format: str
    is_streamed: bool

    @property
    def id(self) -> str:
        """The name of the request's upstream and model, its X-Request-ID, and a part of its text."""
        heartbeats = "-pinged" if self.row.has_heartbeats else ""
        mode = "streamed" if self.is_streamed else "plain"
        return f"{self.row.scenario}{heartbeats}.{self.dialect}.{self.api_format}.{mode}"

    @property
    def expected(self) -> Expected:
        return of(self.row.streamed if self.is_streamed else self.row.plain, self.dialect)

    @property
    def limit_s(self) -> float:
        """The timeout that ends this request: the request timeout at the latest."""
        return self.row.timeouts[self.expected.limit or "request"]


@dataclass(kw_only=True)
class Played:
    """A case and its results."""

    case: Case
    observed: ObservedResponse
    took_s: float
    records: list[UsageRecord] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)
    """The requests that the scripted upstream received."""


@dataclass(kw_only=True)
class Run:
    played: list[Played]
    unassigned_requests: list[RecordedRequest]
    """Requests at the upstream that are not part of any case."""
    unassigned_records: list[UsageRecord]
    open_requests: int
    """Scripts that still play at the end: connections that the gateway keeps open without a client."""
    descriptors: tuple[int, int]
    """The workers' file descriptors before and after the run, without idle connections to upstreams."""
    bomb_growth_mib: float
    """The growth of the worker's memory over the gzip bombs."""
    took_s: float

    def of(self, row: Row, *, is_streamed: bool) -> list[Played]:
        return [one for one in self.played if one.case.row is row and one.case.is_streamed is is_streamed]


def cases() -> list[Case]:
    return [
        Case(row=row, dialect=dialect, api_format=api_format, is_streamed=is_streamed)
        for row in ROWS
        for dialect, api_format, is_streamed in itertools.product(DIALECTS, API_PATHS, (False, True))
    ]


def play(owner: User) -> Run:
    started_at = time.monotonic()
    logging.getLogger("tests.upstream").setLevel(logging.WARNING)  # a log line per request would hide the failures
    with ExitStack() as stack:
        stage = _Stage(owner, stack.enter_context(Servers().started()))
        stage.set_up(cases())
        trusted = Path(STATE_DIR) / "faults-authority.pem"
        trusted.write_text(stage.servers.authority.pem)
        # Upstreams and routes are cached: reading hundreds of rows for each of hundreds of requests would dominate.
        settings = {"UPSTREAM_CA_FILE": str(trusted), "CONFIG_CACHE_TTL_S": "600"}
        stage.usual = stack.enter_context(GatewayServer(**settings))
        stage.pinging = stack.enter_context(GatewayServer(**settings, HEARTBEAT_S="0.5"))
        return stage.play(started_at)


class _Stage:
    """The gateways, their upstreams, and the API key of the client."""

    usual: GatewayServer
    pinging: GatewayServer

    def __init__(self, owner: User, servers: Servers) -> None:
        self.servers = servers
        self._key, self._raw_key = APIKey.objects.issue(name="faults", owner=owner)

    def set_up(self, cases: Iterable[Case]) -> None:
        """Create an upstream and a route for each case, so that no circuit and no retry budget is shared."""
        for case in cases:
            upstream = self._upstream(case)
            upstream.set_credential(CREDENTIAL)
            upstream.save()
            RouteTarget.objects.create(route=Route.objects.create(pattern=case.id), upstream=upstream)

    def _upstream(self, case: Case) -> Upstream:
        timeouts = case.row.timeouts
        scenario = f"/scripted-{case.row.scenario}" if case.row.server == "scripted" else ""
        return Upstream(
            name=case.id,
            dialect=case.dialect,
            base_url=f"{self.servers.url(case.row.server)}{scenario}/case-{case.id}/v1",
            connect_timeout_s=timeouts["connect"],
            first_byte_timeout_s=timeouts["first byte"],
            idle_timeout_s=timeouts["idle"],
            request_timeout_s=timeouts["request"],
        )

    def play(self, started_at: float) -> Run:
        everything = cases()
        self._warm_up()
        before = self._descriptors()
        timed = [case for case in everything if case.row.is_timed]
        heavy = [case for case in everything if case.row.is_heavy]
        bombs = [case for case in heavy if case.row.scenario == "gzip-bomb"]
        others = [case for case in everything if not case.row.is_timed and not case.row.is_heavy]
        # The longest first, so that the others run beside them.
        played = self._send_all(sorted(timed, key=lambda case: -case.limit_s), TIMED_CONCURRENCY)
        played += self._send_all(others, CONCURRENCY)
        memory = self._memory_mib()
        played += self._send_all(bombs, HEAVY_CONCURRENCY)
        growth = self._memory_mib() - memory
        played += self._send_all([case for case in heavy if case not in bombs], HEAVY_CONCURRENCY)
        open_requests = self._settled()
        unassigned_requests, unassigned_records = self._assign(played)
        return Run(
            played=played,
            unassigned_requests=unassigned_requests,
            unassigned_records=unassigned_records,
            open_requests=open_requests,
            descriptors=(before, self._descriptors() - self._idle()),
            bomb_growth_mib=growth,
            took_s=time.monotonic() - started_at,
        )

    def _warm_up(self) -> None:
        """Make each gateway load its routes, which takes time for hundreds of them."""
        for gateway in (self.usual, self.pinging):
            client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=CLIENT_TIMEOUT_S)
            client.request("GET", "/api/anthropic/v1/models", headers={"Authorization": f"Bearer {self._raw_key}"})
            assert client.getresponse().status == 200
            client.close()

    def _send_all(self, cases: list[Case], concurrency: int) -> list[Played]:
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(self._send, cases))

    def _send(self, case: Case) -> Played:
        gateway = self.pinging if case.row.has_heartbeats else self.usual
        text = f"This is {case.id}. " + "x" * case.row.text_bytes
        body = {
            "model": case.id,
            "max_tokens": 64,
            "stream": case.is_streamed,
            "messages": [{"role": "user", "content": text}],
        }
        headers = {"Authorization": f"Bearer {self._raw_key}", "X-Request-ID": case.id}
        client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=CLIENT_TIMEOUT_S)
        started_at = time.monotonic()
        try:
            client.request("POST", API_PATHS[case.api_format], json.dumps(body).encode(), headers)
            response = ApiResponse(client.getresponse())
        except (OSError, http.client.HTTPException) as error:
            observed = ObservedResponse(outcome="no response", problems=[f"{type(error).__name__}: {error}"])
            return Played(case=case, observed=observed, took_s=time.monotonic() - started_at)
        finally:
            client.close()
        took_s = time.monotonic() - started_at
        return Played(
            case=case, observed=read(response, api_format=case.api_format, is_streamed=case.is_streamed), took_s=took_s
        )

    # ---- after the run

    def _settled(self) -> int:
        """Wait until no usage record is open and no script plays. Return the number of scripts that still play."""
        wait_until(lambda: not UsageRecord.objects.filter(status="started").exists(), within_s=10)
        deadline = time.monotonic() + 5
        while (count := sum(1 for request in self._requests() if not request.outcome)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return count

    def _requests(self) -> Iterator[RecordedRequest]:
        for upstream in self.servers.upstreams:
            yield from upstream.requests

    def _idle(self) -> int:
        return sum(upstream.open_connections for upstream in self.servers.upstreams)

    def _assign(self, played: list[Played]) -> tuple[list[RecordedRequest], list[UsageRecord]]:
        """Assign requests and usage records to their cases. Return those without a case."""
        requests: dict[str, list[RecordedRequest]] = defaultdict(list)
        records: dict[str, list[UsageRecord]] = defaultdict(list)
        for request in self._requests():
            requests[match[1] if (match := IN_PATH.search(request.path)) else ""].append(request)
        for record in UsageRecord.objects.all():
            records[record.client_request_id].append(record)
        for one in played:
            one.requests, one.records = requests.pop(one.case.id, []), records.pop(one.case.id, [])
        return [request for some in requests.values() for request in some], [
            row for some in records.values() for row in some
        ]

    def _workers(self) -> list[int]:
        return [*self.usual.worker_pids(), *self.pinging.worker_pids()]

    def _descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self._workers())

    def _memory_mib(self) -> float:
        (worker,) = self.usual.worker_pids()
        (line,) = [line for line in Path(f"/proc/{worker}/status").read_text().split("\n") if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024
