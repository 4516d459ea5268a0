"""Usage records as rows: every kind of tokens is in every form of them."""

from dataclasses import fields

import pytest

from keys.models import HourlyUsage, UsageRecord
from keys.models.usage import BILLED_TOKEN_COLUMNS, TOKEN_COLUMNS
from keys.pricing.rating import Tokens
from keys.usage import rows
from keys.usage.hourly_rollup import MEASURES
from keys.usage.rows import Settlement


def names_of(form: type) -> set[str]:
    if form is Settlement:
        return {item.name for item in fields(Settlement)}
    return {item.attname for item in form._meta.concrete_fields}  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", [UsageRecord, HourlyUsage, Settlement])
def test_every_form_has_all_kinds_of_tokens(form: type) -> None:
    columns = {name for name in names_of(form) if name.endswith("_tokens")} - {"estimated_input_tokens"}

    assert columns == set(TOKEN_COLUMNS)


def test_every_kind_of_tokens_is_rolled_up() -> None:
    assert set(TOKEN_COLUMNS) < set(MEASURES)


def test_every_billed_kind_is_rated() -> None:
    row = {name: 10**position for position, name in enumerate(BILLED_TOKEN_COLUMNS)}

    assert [f"{item.name}_tokens" for item in fields(Tokens)] == list(BILLED_TOKEN_COLUMNS)
    assert rows.tokens(row).total == Settlement(status="completed", **row).tokens == 11_111
