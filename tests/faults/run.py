"""The catalogue, played once: every row in both dialects, on both lanes, plain and streamed, through one gateway."""

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
from tests.faults.answers import Seen, read
from tests.faults.expected import DIALECTS, Expected, of
from tests.faults.servers import Servers
from tests.faults.table import ROWS, Row
from tests.support.environment import STATE_DIR
from tests.support.gateway import Answer, GatewayServer, wait_until
from tests.upstream import RecordedRequest

LANES = {"envelope": "/api/v1/messages", "anthropic": "/api/anthropic/v1/messages"}
CREDENTIAL = "sk-the-credential-of-the-upstream"
WAITING_AT_ONCE = 60
WORKING_AT_ONCE = 24
HEAVY_AT_ONCE = 4
GIVEN_UP_AFTER_S = 60.0
IN_PATH = re.compile(r"/case-([A-Za-z0-9._-]+)/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One call: a row in one dialect, on one lane, plain or streamed."""

    row: Row
    dialect: str
    api_format: str
    is_streamed: bool

    @property
    def id(self) -> str:
        """Names the call everywhere: its upstream, its model, its X-Request-ID, its text."""
        heartbeats = "-pinged" if self.row.has_heartbeats else ""
        mode = "streamed" if self.is_streamed else "plain"
        return f"{self.row.scenario}{heartbeats}.{self.dialect}.{self.api_format}.{mode}"

    @property
    def expected(self) -> Expected:
        return of(self.row.streamed if self.is_streamed else self.row.plain, self.dialect)

    @property
    def limit_s(self) -> float:
        """The deadline of this call. All of them end by the total one."""
        return self.row.deadlines[self.expected.limit or "total"]


@dataclass(kw_only=True)
class Played:
    """A case and all that is known of it afterwards."""

    case: Case
    seen: Seen
    took_s: float
    records: list[UsageRecord] = field(default_factory=list)
    calls: list[RecordedRequest] = field(default_factory=list)
    """Those that reached the scripted upstream."""


@dataclass(kw_only=True)
class Run:
    played: list[Played]
    strange_calls: list[RecordedRequest]
    """Calls at the upstream that belong to no case."""
    strange_records: list[UsageRecord]
    open_calls: int
    """Scripts that still play when all is over: connections that the gateway holds although nobody waits."""
    descriptors: tuple[int, int]
    """How many file descriptors the worker had before, and has now, without its idle connections to upstreams."""
    bomb_growth_mib: float
    """By how much the worker's memory grew over the gzip bombs."""
    took_s: float

    def of(self, row: Row, *, is_streamed: bool) -> list[Played]:
        return [one for one in self.played if one.case.row is row and one.case.is_streamed is is_streamed]


def cases() -> list[Case]:
    return [
        Case(row=row, dialect=dialect, api_format=api_format, is_streamed=is_streamed)
        for row in ROWS
        for dialect, api_format, is_streamed in itertools.product(DIALECTS, LANES, (False, True))
    ]


def play(owner: User) -> Run:
    begun = time.monotonic()
    logging.getLogger("tests.upstream").setLevel(logging.WARNING)  # a thousand calls would bury what is wrong
    with ExitStack() as stack:
        stage = _Stage(owner, stack.enter_context(Servers().started()))
        stage.set_up(cases())
        trusted = Path(STATE_DIR) / "faults-authority.pem"
        trusted.write_text(stage.servers.authority.pem)
        # Upstreams and routes are read once: hundreds of rows for each of hundreds of calls would be the test.
        settings = {"UPSTREAM_CA_FILE": str(trusted), "CONFIG_CACHE_TTL_S": "600"}
        stage.usual = stack.enter_context(GatewayServer(**settings))
        stage.pinging = stack.enter_context(GatewayServer(**settings, HEARTBEAT_S="0.5"))
        return stage.play(begun)


class _Stage:
    """The gateways, what stands behind them, and the key that calls."""

    usual: GatewayServer
    pinging: GatewayServer

    def __init__(self, owner: User, servers: Servers) -> None:
        self.servers = servers
        self._key, self._raw_key = APIKey.objects.issue(name="faults", owner=owner)

    def set_up(self, cases: Iterable[Case]) -> None:
        """An upstream and a route for each case, so that no circuit and no retry budget is shared."""
        for case in cases:
            upstream = self._upstream(case)
            upstream.set_credential(CREDENTIAL)
            upstream.save()
            RouteTarget.objects.create(route=Route.objects.create(pattern=case.id), upstream=upstream)

    def _upstream(self, case: Case) -> Upstream:
        deadlines = case.row.deadlines
        scenario = f"/scripted-{case.row.scenario}" if case.row.server == "scripted" else ""
        return Upstream(
            name=case.id,
            dialect=case.dialect,
            base_url=f"{self.servers.url(case.row.server)}{scenario}/case-{case.id}/v1",
            connect_timeout_s=deadlines["connect"],
            first_byte_timeout_s=deadlines["first byte"],
            idle_timeout_s=deadlines["silence"],
            request_timeout_s=deadlines["total"],
        )

    def play(self, begun: float) -> Run:
        everything = cases()
        self._warm_up()
        before = self._descriptors()
        timed = [case for case in everything if case.row.is_timed]
        heavy = [case for case in everything if case.row.is_heavy]
        bombs = [case for case in heavy if case.row.scenario == "gzip-bomb"]
        others = [case for case in everything if not case.row.is_timed and not case.row.is_heavy]
        # The longest first, so that the others pass beside them.
        played = self._call_all(sorted(timed, key=lambda case: -case.limit_s), WAITING_AT_ONCE)
        played += self._call_all(others, WORKING_AT_ONCE)
        memory = self._memory_mib()
        played += self._call_all(bombs, HEAVY_AT_ONCE)
        growth = self._memory_mib() - memory
        played += self._call_all([case for case in heavy if case not in bombs], HEAVY_AT_ONCE)
        open_calls = self._settled()
        strange_calls, strange_records = self._assign(played)
        return Run(
            played=played,
            strange_calls=strange_calls,
            strange_records=strange_records,
            open_calls=open_calls,
            descriptors=(before, self._descriptors() - self._idle()),
            bomb_growth_mib=growth,
            took_s=time.monotonic() - begun,
        )

    def _warm_up(self) -> None:
        """Let each gateway read its routes, which takes a moment where there are hundreds."""
        for gateway in (self.usual, self.pinging):
            client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=GIVEN_UP_AFTER_S)
            client.request("GET", "/api/anthropic/v1/models", headers={"Authorization": f"Bearer {self._raw_key}"})
            assert client.getresponse().status == 200
            client.close()

    def _call_all(self, cases: list[Case], at_once: int) -> list[Played]:
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(self._call, cases))

    def _call(self, case: Case) -> Played:
        gateway = self.pinging if case.row.has_heartbeats else self.usual
        text = f"This is {case.id}. " + "x" * case.row.text_bytes
        body = {
            "model": case.id,
            "max_tokens": 64,
            "stream": case.is_streamed,
            "messages": [{"role": "user", "content": text}],
        }
        headers = {"Authorization": f"Bearer {self._raw_key}", "X-Request-ID": case.id}
        client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=GIVEN_UP_AFTER_S)
        begun = time.monotonic()
        try:
            client.request("POST", LANES[case.api_format], json.dumps(body).encode(), headers)
            answer = Answer(client.getresponse())
        except (OSError, http.client.HTTPException) as error:
            seen = Seen(outcome="no answer", problems=[f"{type(error).__name__}: {error}"])
            return Played(case=case, seen=seen, took_s=time.monotonic() - begun)
        finally:
            client.close()
        took_s = time.monotonic() - begun
        return Played(
            case=case, seen=read(answer, api_format=case.api_format, is_streamed=case.is_streamed), took_s=took_s
        )

    # ---- what is left

    def _settled(self) -> int:
        """Wait until no row is open and no script plays; how many still do."""
        wait_until(lambda: not UsageRecord.objects.filter(status="started").exists(), within_s=10)
        deadline = time.monotonic() + 5
        while (count := sum(1 for call in self._calls() if not call.outcome)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return count

    def _calls(self) -> Iterator[RecordedRequest]:
        for upstream in self.servers.upstreams:
            yield from upstream.requests

    def _idle(self) -> int:
        return sum(upstream.open_connections for upstream in self.servers.upstreams)

    def _assign(self, played: list[Played]) -> tuple[list[RecordedRequest], list[UsageRecord]]:
        """Give each case its calls and its records. What belongs to none is returned."""
        calls: dict[str, list[RecordedRequest]] = defaultdict(list)
        records: dict[str, list[UsageRecord]] = defaultdict(list)
        for call in self._calls():
            calls[match[1] if (match := IN_PATH.search(call.path)) else ""].append(call)
        for record in UsageRecord.objects.all():
            records[record.client_request_id].append(record)
        for one in played:
            one.calls, one.records = calls.pop(one.case.id, []), records.pop(one.case.id, [])
        return [call for some in calls.values() for call in some], [row for some in records.values() for row in some]

    def _workers(self) -> list[int]:
        return [*self.usual.worker_pids(), *self.pinging.worker_pids()]

    def _descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self._workers())

    def _memory_mib(self) -> float:
        (worker,) = self.usual.worker_pids()
        (line,) = [line for line in Path(f"/proc/{worker}/status").read_text().split("\n") if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024
