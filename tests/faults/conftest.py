"""The run of all faults, shared by the tests."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoDbBlocker

from tests.faults.run import Run, play
from tests.support import emptying


@pytest.fixture(scope="module")
def run(django_db_setup: None, django_db_blocker: DjangoDbBlocker, static_files: None) -> Iterator[Run]:
    with django_db_blocker.unblock():
        try:
            yield play(User.objects.create_user("faults"))
        finally:
            emptying.empty()
