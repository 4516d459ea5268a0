"""Markdown table of the results in `tests/README.md`."""

import re
from pathlib import Path

from tests.faults.checks import is_closed, is_on_time
from tests.faults.expected import DIALECTS, LONG
from tests.faults.run import Played, Run
from tests.faults.table import ROWS, Row
from tests.upstream import SCENARIOS
from tests.upstream.scenario import without_parameters

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
HEAD = "| | upstream | plain request | streamed request | timeout | slowest | sockets |\n" + "|---" * 7 + "|\n"
TIMES = re.compile(r"[0-9.]+ s of [0-9.]+")


def table(run: Run) -> str:
    """Return the results as a Markdown table."""
    return HEAD + "".join(_line(run, row) for row in ROWS)


def in_readme() -> str:
    """Return the table in the README."""
    return README.read_text().partition(BEGIN)[2].partition(END)[0]


def write(text: str) -> None:
    """Replace the table in the README."""
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + text + END + rest.partition(END)[2])


def without_times(text: str) -> str:
    """Remove the durations, which differ between runs."""
    return TIMES.sub("", text)


def _line(run: Run, row: Row) -> str:
    plain, streamed = (run.of(row, is_streamed=is_streamed) for is_streamed in (False, True))
    both = [*plain, *streamed]
    slowest = max(both, key=lambda played: played.took_s)
    cells = [
        row.fault,
        row.title or SCENARIOS[without_parameters(row.scenario)].title,
        _summary(plain),
        _summary(streamed),
        f"{_timeouts(plain, streamed)}{'kept' if all(map(is_on_time, both)) else 'MISSED'}",
        f"{slowest.took_s:.1f} s of {slowest.case.limit_s:g}",
        "closed" if all(map(is_closed, both)) else "OPEN",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _summary(played: list[Played]) -> str:
    """Return the outcomes of these requests, by dialect if they differ."""
    by_dialect = {
        dialect: ", or ".join(dict.fromkeys(_outcome(one) for one in played if one.case.dialect == dialect))
        for dialect in DIALECTS
    }
    if len(set(by_dialect.values())) == 1:
        return by_dialect[DIALECTS[0]]
    return "<br>".join(f"{dialect}: {outcome}" for dialect, outcome in by_dialect.items())


def _outcome(played: Played) -> str:
    attempts = sum(len(row.attempts) for row in played.records)
    tried = "" if attempts == 1 else f", tried {attempts} times"
    rows = " and ".join(f"{row.status}, {row.usage_source}" for row in played.records)
    return f"{played.observed.outcome}{tried}; {rows or 'no row'}"


def _timeouts(plain: list[Played], streamed: list[Played]) -> str:
    """Return the names of the timeouts that ended these requests."""
    ended = {one.case.expected.limit for one in (*plain, *streamed)} - {""}
    return " and ".join(name for name in LONG if name in ended) + (" " if ended else "")
