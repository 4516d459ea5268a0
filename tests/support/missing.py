"""Tests without the real part that they need: skipped, or failed where REQUIRE_REAL_PARTS=1."""

from typing import NoReturn

import pytest

from tests.support import environment


def missing(part: str) -> NoReturn:
    """Skip the test because a real part is missing, or fail it where every part is required."""
    if environment.REQUIRES_REAL_PARTS:
        pytest.fail(part)
    pytest.skip(part)
