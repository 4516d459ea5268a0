"""`docs/soak.md`: what was played, on what, and what was found. Every figure is one that was measured."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tests.soak.books import Run
from tests.soak.programme import Part

HEAD = """\
# Soak

What the gateway promises of its calls and its ledger while it is killed, starved and left, and what was measured when
it was. `make soak` plays all of this again and rewrites this file; small versions of it are among the tests.

Callers over real sockets, the gateway as it ships, a PostgreSQL of its own, and an upstream that keeps a log of every
call. After each scenario three accounts are held against each other: the upstream's log, the ledger, and what each
caller saw. *missing* are calls that the upstream knows and the ledger does not, *twice* those with two rows, *finished
but not completed* those whose caller has seen the end and of which the ledger says something else. Where a promise is
about time, the lag of the machine (how late the callers' own clock rang, at most) is taken off.
"""


@dataclass(frozen=True, slots=True)
class Played:
    part: Part
    runs: list[Run]

    @property
    def broken(self) -> list[str]:
        return [promise for run in self.runs for promise in run.broken]


def text_of(played: Iterable[Played], *, took_s: float) -> str:
    sections = [HEAD, _circumstances(took_s)]
    for each in played:
        verdict = "kept" if not each.broken else "**broken**: " + "; ".join(dict.fromkeys(each.broken))
        sections.append(f"## {each.part.name[0].upper()}{each.part.name[1:]}\n\n{each.part.promise}\n")
        sections.append(f"Parameters: {_listed(each.part.large)}. Promises: {verdict}.\n\n{_table(each.runs)}")
    return "\n".join(sections)


def _circumstances(took_s: float) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Last played on {date.today()}, in {took_s / 60:.0f} minutes, on {os.cpu_count()} cores and {memory:.0f} GiB "
        f"of memory, which callers, upstream, database and gateway shared. Load at the end: {load}.\n"
    )


def _table(runs: list[Run]) -> str:
    """One column a run."""
    names = list(dict.fromkeys(name for run in runs for name in run.figures))
    head = "| | " + " | ".join(f"run {number}" for number in range(1, len(runs) + 1)) + " |"
    lines = [head if len(runs) > 1 else "| | |", "|---|" + "---|" * len(runs)]
    lines += [f"| {name} | " + " | ".join(_shown(run.figures.get(name, "")) for run in runs) + " |" for name in names]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return _listed(value) if isinstance(value, dict) else str(value)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def write(path: Path, played: Iterable[Played], *, took_s: float) -> None:
    path.write_text(text_of(played, took_s=took_s))
