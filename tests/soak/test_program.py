"""Small runs of the scenarios of `make soak`."""

import pytest

from tests.soak.host import Host
from tests.soak.program import PROGRAM, SoakScenario

SMALL = [scenario for scenario in PROGRAM if scenario.small is not None]


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name.replace(" ", "-"))
def test_every_promise_is_kept(host: Host, scenario: SoakScenario) -> None:
    assert scenario.small is not None

    run = scenario.run(host, **scenario.small)

    assert run.broken == [], run.figures
