"""What is played, how large for a report and how large for a test run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.soak.books import Run
from tests.soak.scenarios import (
    connections,
    full_disk,
    killed_master,
    killed_worker,
    leavers,
    outage,
    poison,
    rotation,
    sigterm,
    slow_readers,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One scenario of the programme."""

    name: str
    promise: str
    scene: Callable[..., Run]
    large: dict[str, Any]
    small: dict[str, Any] | None
    """None where a test run does without it: then another test holds the same promise."""
    runs: int = 1
    """How often the large one is played."""


PROGRAMME = [
    Part(
        name="killed worker",
        promise="`kill -9` of a worker loses nothing that had finished, and what it cut is settled as orphaned.",
        scene=killed_worker.run,
        large={"streams": 2_000, "ramp_s": 20, "shortest": 10, "longest": 45},
        small={"streams": 60, "ramp_s": 1, "shortest": 2, "longest": 7},
        runs=5,
    ),
    Part(
        name="killed master",
        promise="`kill -9` of the master: its workers tell their callers, and another master takes over.",
        scene=killed_master.run,
        large={"streams": 1_000, "ramp_s": 10},
        small={"streams": 30, "ramp_s": 1},
    ),
    Part(
        name="SIGTERM",
        promise="SIGTERM: short streams end untouched, long ones with an honest error, nothing is reset.",
        scene=sigterm.run,
        large={"streams": 500, "ramp_s": 8, "grace_s": 30, "requests_per_s": 50},
        small={"streams": 40, "ramp_s": 1, "grace_s": 9, "requests_per_s": 20},
    ),
    Part(
        name="leaving callers",
        promise="Callers who leave, whenever and however, free the upstream within a second.",
        scene=leavers.run,
        large={"callers": 500, "ramp_s": 5},
        small={"callers": 60, "ramp_s": 1},
    ),
    Part(
        name="PostgreSQL stopped",
        promise="While the database is away nobody waits or is blamed, and it heals alone.",
        scene=outage.stopped,
        large={"outage_s": 60, "requests_per_s": 100, "streams": 100},
        small={"outage_s": 5, "requests_per_s": 20, "streams": 20},
    ),
    Part(
        name="PostgreSQL frozen",
        promise="The same where the server accepts connections and never answers.",
        scene=outage.frozen,
        large={"outage_s": 60, "requests_per_s": 100, "streams": 100},
        small={"outage_s": 5, "requests_per_s": 20, "streams": 20},
    ),
    Part(
        name="full disk, then space",
        promise="Rows that neither database nor disk take wait in memory, and move to the disk when it has space.",
        scene=full_disk.space_first,
        large={"streams": 500, "longest_s": 20},
        small={"streams": 20, "longest_s": 4},
    ),
    Part(
        name="full disk, then database",
        promise="They go to the database from memory when that is the first to come back.",
        scene=full_disk.database_first,
        large={"streams": 500, "longest_s": 20},
        small=None,
    ),
    Part(
        name="full disk, SQLite",
        promise="The same where one full disk takes database and spool away.",
        scene=full_disk.sqlite,
        large={"streams": 500, "longest_s": 20},
        small={"streams": 20, "longest_s": 4},
    ),
    Part(
        name="failing fsync",
        promise="A disk that does not promise to keep a row has not taken it.",
        scene=full_disk.failing_fsync,
        large={"streams": 200, "longest_s": 15},
        small=None,
    ),
    Part(
        name="poisoned rows",
        promise="A row that the database does not take is isolated; the others of its batch do not notice.",
        scene=poison.run,
        large={"calls": 100},
        small={"calls": 100},
    ),
    Part(
        name="slow readers",
        promise="Callers who read 100 bytes a second cost bounded memory, throttle the upstream, and are cut.",
        scene=slow_readers.run,
        large={"callers": 200, "ramp_s": 5, "stall_s": 60},
        small={"callers": 20, "ramp_s": 1, "stall_s": 2},
    ),
    Part(
        name="connections",
        promise="Open streams hold no connection to the database.",
        scene=connections.run,
        large={"streams": 500, "ramp_s": 5},
        small={"streams": 50, "ramp_s": 1},
    ),
    Part(
        name="rotated key",
        promise="A rotation under load loses no call, and the old secret does not outlive its deadline.",
        scene=rotation.run,
        large={"requests_per_s": 200, "overlap_s": 30},
        small=None,
    ),
]
