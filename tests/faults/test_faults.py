"""Every fault of the catalogue, in both dialects, on both lanes, plain and streamed, comes to what the table says."""

import pytest

from tests.faults import report
from tests.faults.checks import mismatches, mismatches_of_run
from tests.faults.run import Run
from tests.faults.table import FAULTS, ROWS
from tests.upstream import SCENARIOS
from tests.upstream.scenario import without_parameters

pytestmark = [
    pytest.mark.django_db,  # without a test that asks for it there is no database
    pytest.mark.timeout(240),  # the first test waits for the whole run
]


def test_the_table_has_every_fault_that_the_scripted_upstream_can_play() -> None:
    played = {without_parameters(row.scenario) for row in ROWS}

    assert set(FAULTS) == {"status", *(f"U{i}" for i in range(1, 31))}
    assert {name for name, scenario in SCENARIOS.items() if scenario.fault} <= played
    assert {name for name in SCENARIOS if name.startswith("status-")} <= played


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_comes_to_what_the_table_says(run: Run, fault: str) -> None:
    found = [problem for one in run.played if one.case.row.fault == fault for problem in mismatches(one)]

    assert not found, "\n".join(["", *found])


def test_nothing_is_left_open_lost_or_counted_twice(run: Run) -> None:
    assert mismatches_of_run(run) == []


def test_the_readme_shows_what_was_seen(run: Run, pytestconfig: pytest.Config) -> None:
    seen = report.table(run)
    if pytestconfig.getoption("--write-faults-table"):
        report.write(seen)

    assert report.without_times(report.in_readme()) == report.without_times(seen)
