"""Small runs of the scenarios of `make soak`."""

import pytest

from tests.conftest import missing
from tests.soak.host import Host
from tests.soak.program import PROGRAM, SoakScenario
from tests.support.stepped_clock import FaketimeMissing

SMALL = [scenario for scenario in PROGRAM if scenario.small is not None]


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name.replace(" ", "-"))
def test_every_promise_is_kept(host: Host, scenario: SoakScenario) -> None:
    assert scenario.small is not None

    try:
        run = scenario.run(host, **scenario.small)
    except FaketimeMissing:
        missing("libfaketime is not installed")

    assert run.broken == [], run.figures
