"""Scenarios and their parameters, for the report and for a test run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.soak.accounts import ScenarioRun
from tests.soak.scenarios import (
    clock_step,
    connections,
    dead_connections,
    disconnects,
    full_disk,
    killed_master,
    killed_worker,
    long_outage,
    outage,
    poison,
    poison_responses,
    rotation,
    sigterm,
    slow_readers,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SoakScenario:
    """A scenario and its parameters."""

    name: str
    promise: str
    run: Callable[..., ScenarioRun]
    large: dict[str, Any]
    small: dict[str, Any] | None
    """None: not part of a test run, because another test covers the promise."""
    runs: int = 1
    """The number of runs with the large parameters."""


PROGRAM = [
    SoakScenario(
        name="killed worker",
        promise="`kill -9` of a worker loses no completed request, and the cut requests are settled as interrupted.",
        run=killed_worker.run,
        large={"streams": 2_000, "ramp_s": 20, "shortest": 10, "longest": 45},
        small={"streams": 60, "ramp_s": 1, "shortest": 2, "longest": 7},
        runs=5,
    ),
    SoakScenario(
        name="killed master",
        promise="`kill -9` of the master: its workers send an error to their clients, and a new master takes over.",
        run=killed_master.run,
        large={"streams": 1_000, "ramp_s": 10},
        small={"streams": 30, "ramp_s": 1},
    ),
    SoakScenario(
        name="SIGTERM",
        promise="SIGTERM: short streams complete, long ones end with an error, no connection is reset.",
        run=sigterm.run,
        large={"streams": 500, "ramp_s": 8, "grace_s": 30, "requests_per_s": 50},
        small={"streams": 40, "ramp_s": 1, "grace_s": 9, "requests_per_s": 20},
    ),
    SoakScenario(
        name="client disconnects",
        promise="A client disconnect of any kind, at any time, frees the upstream within a second.",
        run=disconnects.run,
        large={"clients": 500, "ramp_s": 5},
        small={"clients": 60, "ramp_s": 1},
    ),
    SoakScenario(
        name="PostgreSQL stopped",
        promise="While the database is unavailable, no request waits for it, and the gateway recovers by itself.",
        run=outage.stopped,
        large={"outage_s": 60, "requests_per_s": 100, "streams": 100},
        small={"outage_s": 5, "requests_per_s": 20, "streams": 20},
    ),
    SoakScenario(
        name="PostgreSQL frozen",
        promise="The same if the server accepts connections and never responds.",
        run=outage.frozen,
        large={"outage_s": 60, "requests_per_s": 100, "streams": 100},
        small={"outage_s": 5, "requests_per_s": 20, "streams": 20},
    ),
    SoakScenario(
        name="outage longer than the leases",
        promise="Settlements that wait for the database are not lost to a sweep of expired leases.",
        run=long_outage.database,
        large={"outage_s": 30, "streams": 200},
        small={"outage_s": 4, "streams": 20},
    ),
    SoakScenario(
        name="paused host",
        promise="Requests that another host has settled as interrupted are settled late when their host resumes.",
        run=long_outage.paused_host,
        large={"streams": 200},
        small={"streams": 20},
    ),
    SoakScenario(
        name="full disk, then space",
        promise="Records wait in memory while database and disk are unavailable, then move to the disk.",
        run=full_disk.space_first,
        large={"streams": 500, "longest_s": 20},
        small={"streams": 20, "longest_s": 4},
    ),
    SoakScenario(
        name="full disk, then database",
        promise="They move to the database if it is available first.",
        run=full_disk.database_first,
        large={"streams": 500, "longest_s": 20},
        small=None,
    ),
    SoakScenario(
        name="full disk, SQLite",
        promise="The same if database and spool are on the full disk.",
        run=full_disk.sqlite,
        large={"streams": 500, "longest_s": 20},
        small={"streams": 20, "longest_s": 4},
    ),
    SoakScenario(
        name="failing fsync",
        promise="A record whose fsync fails does not count as written.",
        run=full_disk.failing_fsync,
        large={"streams": 200, "longest_s": 15},
        small=None,
    ),
    SoakScenario(
        name="poisoned rows",
        promise="A record that the database rejects is isolated; the others of its batch are stored.",
        run=poison.run,
        large={"requests": 100},
        small={"requests": 100},
    ),
    SoakScenario(
        name="poisoned responses",
        promise="Upstream responses with values of any type in any field, then a short outage: no record is lost.",
        run=poison_responses.run,
        large={"every": 1, "outage_s": 10},
        small={"every": 7, "outage_s": 3},
    ),
    SoakScenario(
        name="slow readers",
        promise="Clients that read 100 bytes per second use bounded memory, throttle the upstream, and time out.",
        run=slow_readers.run,
        large={"clients": 200, "ramp_s": 5, "send_timeout_s": 60},
        small={"clients": 20, "ramp_s": 1, "send_timeout_s": 2},
    ),
    SoakScenario(
        name="dead connections",
        promise="Connections that send nothing, dribble a head or read no response delay no other request.",
        run=dead_connections.run,
        large={"connections": 2_010, "requests_per_s": 50, "seconds": 30},
        small={"connections": 100, "requests_per_s": 20, "seconds": 4},
    ),
    SoakScenario(
        name="stepped clock",
        promise="Steps of the clock by an hour, forward and back, lose no request, cut none and reject no API key.",
        run=clock_step.run,
        large={"between_s": 15, "requests_per_s": 50, "streams": 200},
        small={"between_s": 2, "requests_per_s": 10, "streams": 20},
    ),
    SoakScenario(
        name="connections",
        promise="Open streams hold no database connection.",
        run=connections.run,
        large={"streams": 500, "ramp_s": 5},
        small={"streams": 50, "ramp_s": 1},
    ),
    SoakScenario(
        name="rotated key",
        promise="A rotation under load loses no request, and the previous secret stops working when it expires.",
        run=rotation.run,
        large={"requests_per_s": 200, "overlap_s": 30},
        small=None,
    ),
]
