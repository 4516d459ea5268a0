"""The forms of the table of usage records."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from keys.models import UsageRecord
from keys.usage import ledger, record_table

FORMS = ["plain", "partitioned"] if connection.vendor == "postgresql" else ["plain"]


@pytest.fixture
def plain_again(quiet_ledger: None) -> Iterator[None]:
    """Make the table plain at the end of the test."""
    yield
    ledger.close()
    if record_table.read_form(connection):
        with connection.cursor() as cursor:
            cursor.execute(f'DROP TABLE "{record_table.TABLE}"')
        with connection.schema_editor() as editor:
            editor.create_model(UsageRecord)
    record_table.forget_form()


@pytest.fixture(params=FORMS)
def record_table_form(request: Any, plain_again: None) -> str:
    """Run the test with a plain table, and on PostgreSQL with a partitioned one too."""
    if request.param == "partitioned":
        record_table.partition()
    return str(request.param)
