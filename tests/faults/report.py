"""The catalogue as a table for people: what was seen, row by row. It stands in `tests/README.md`."""

import re
from pathlib import Path

from tests.faults.checks import is_closed, keeps_its_deadline
from tests.faults.expected import DIALECTS, LONG
from tests.faults.run import Played, Run
from tests.faults.table import ROWS, Row
from tests.upstream import SCENARIOS
from tests.upstream.scenario import without_parameters

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
HEAD = "| | the upstream | a plain call | a streamed call | deadline | slowest | sockets |\n" + "|---" * 7 + "|\n"
TIMES = re.compile(r"[0-9.]+ s of [0-9.]+")


def table(run: Run) -> str:
    """What was seen, as a Markdown table."""
    return HEAD + "".join(_line(run, row) for row in ROWS)


def in_readme() -> str:
    """The table that stands in the README."""
    return README.read_text().partition(BEGIN)[2].partition(END)[0]


def write(text: str) -> None:
    """Put a table into the README."""
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + text + END + rest.partition(END)[2])


def without_times(text: str) -> str:
    """What two runs have in common."""
    return TIMES.sub("", text)


def _line(run: Run, row: Row) -> str:
    plain, streamed = (run.of(row, is_streamed=is_streamed) for is_streamed in (False, True))
    both = [*plain, *streamed]
    slowest = max(both, key=lambda played: played.took_s)
    cells = [
        row.fault,
        row.title or SCENARIOS[without_parameters(row.scenario)].title,
        _seen(plain),
        _seen(streamed),
        f"{_deadlines(plain, streamed)}{'kept' if all(map(keeps_its_deadline, both)) else 'MISSED'}",
        f"{slowest.took_s:.1f} s of {slowest.case.limit_s:g}",
        "closed" if all(map(is_closed, both)) else "HELD",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _seen(played: list[Played]) -> str:
    """What all of these calls came to; by dialect where that made a difference."""
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
    return f"{played.seen.outcome}{tried}; {rows or 'no row'}"


def _deadlines(plain: list[Played], streamed: list[Played]) -> str:
    """Which deadlines ended these calls."""
    ended = {one.case.expected.limit for one in (*plain, *streamed)} - {""}
    return " and ".join(name for name in LONG if name in ended) + (" " if ended else "")
