from collections.abc import Iterator

import pytest

from tests.conftest import missing
from tests.soak.site import Site
from tests.support.postgres import PostgresMissing


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    try:
        made = Site()
    except PostgresMissing:
        missing("PostgreSQL is not installed")
    with made:
        yield made
