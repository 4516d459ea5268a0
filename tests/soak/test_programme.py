"""The ledger under fire, in the small: what `make soak` plays at length."""

import pytest

from tests.soak.programme import PROGRAMME, Part
from tests.soak.site import Site

SMALL = [part for part in PROGRAMME if part.small is not None]


@pytest.mark.parametrize("part", SMALL, ids=lambda part: part.name.replace(" ", "-"))
def test_every_promise_is_kept(site: Site, part: Part) -> None:
    assert part.small is not None

    run = part.scene(site, **part.small)

    assert run.broken == [], run.figures
