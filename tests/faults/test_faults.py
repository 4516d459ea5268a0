"""All faults, in both dialects, through both APIs, plain and streamed, against the table."""

import pytest

from tests.faults import report
from tests.faults.checks import mismatches, mismatches_of_run
from tests.faults.run import Run
from tests.faults.table import FAULTS, ROWS
from tests.upstream import SCENARIOS
from tests.upstream.scenario import without_parameters

pytestmark = [
    pytest.mark.django_db,  # creates the database
    pytest.mark.timeout(240),  # the first test waits for the whole run
]


def test_the_table_has_every_fault_of_the_scripted_upstream() -> None:
    played = {without_parameters(row.scenario) for row in ROWS}

    assert set(FAULTS) == {"status", *(f"U{i}" for i in range(1, 31))}
    assert {name for name, scenario in SCENARIOS.items() if scenario.fault} <= played
    assert {name for name in SCENARIOS if name.startswith("status-")} <= played


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_the_expected_result(run: Run, fault: str) -> None:
    found = [problem for one in run.played if one.case.row.fault == fault for problem in mismatches(one)]

    assert not found, "\n".join(["", *found])


def test_nothing_is_open_lost_or_counted_twice(run: Run) -> None:
    assert mismatches_of_run(run) == []


def test_the_readme_has_the_results(run: Run, pytestconfig: pytest.Config) -> None:
    seen = report.table(run)
    if pytestconfig.getoption("--write-faults-table"):
        report.write(seen)

    assert report.without_times(report.in_readme()) == report.without_times(seen)
