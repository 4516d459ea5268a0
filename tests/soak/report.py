"""Report in `docs/soak.md`: scenarios, machine and measurements."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tests.soak.accounts import ScenarioRun
from tests.soak.program import SoakScenario

HEAD = """\
# Soak

What the gateway promises for its requests and its ledger when processes are killed, dependencies fail and clients
disconnect, with measurements. `make soak` runs all scenarios and rewrites this file; the test suite runs small ones.

The clients use real sockets, the gateway runs as in production, with its own PostgreSQL, and the upstream logs every
request. After each scenario three accounts are compared: the upstream's log, the ledger and the clients' results.
*missing* are requests that the upstream received and the ledger does not have, *duplicates* have two usage records,
*finished but not completed* are requests whose client received the complete response and that the ledger does not have
as completed. The lag of the machine (the maximum delay of the clients' clock) is subtracted from durations.
"""


@dataclass(frozen=True, slots=True)
class ScenarioReport:
    scenario: SoakScenario
    runs: list[ScenarioRun]

    @property
    def broken(self) -> list[str]:
        return [promise for run in self.runs for promise in run.broken]


def text_of(played: Iterable[ScenarioReport], *, took_s: float) -> str:
    sections = [HEAD, _circumstances(took_s)]
    for each in played:
        verdict = "kept" if not each.broken else "**broken**: " + "; ".join(dict.fromkeys(each.broken))
        sections.append(f"## {each.scenario.name[0].upper()}{each.scenario.name[1:]}\n\n{each.scenario.promise}\n")
        sections.append(f"Parameters: {_joined(each.scenario.large)}. Promises: {verdict}.\n\n{_table(each.runs)}")
    return "\n".join(sections)


def _circumstances(took_s: float) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Last run on {date.today()}, in {took_s / 60:.0f} minutes, on {os.cpu_count()} cores and {memory:.0f} GiB of "
        f"memory, shared by clients, upstream, database and gateway. Load at the end: {load}.\n"
    )


def _table(runs: list[ScenarioRun]) -> str:
    """Return the figures as a table with one column per run."""
    names = list(dict.fromkeys(name for run in runs for name in run.figures))
    head = "| | " + " | ".join(f"run {number}" for number in range(1, len(runs) + 1)) + " |"
    lines = [head if len(runs) > 1 else "| | |", "|---|" + "---|" * len(runs)]
    lines += [f"| {name} | " + " | ".join(_as_text(run.figures.get(name, "")) for run in runs) + " |" for name in names]
    return "\n".join(lines) + "\n"


def _as_text(value: Any) -> str:
    return _joined(value) if isinstance(value, dict) else str(value)


def _joined(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def write(path: Path, played: Iterable[ScenarioReport], *, took_s: float) -> None:
    path.write_text(text_of(played, took_s=took_s))
