from collections.abc import Iterator

import pytest

from tests.soak.host import Host
from tests.support.missing import missing
from tests.support.postgres import PostgresMissing


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    try:
        made = Host()
    except PostgresMissing:
        missing("PostgreSQL is not installed")
    with made:
        yield made
