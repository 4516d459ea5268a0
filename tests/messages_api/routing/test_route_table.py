"""Route table: matches are remembered by model, in bounded number."""

import pytest
from django.contrib.auth.models import User

from messages_api.models import Route, RouteTarget, Upstream
from messages_api.routing import route_table
from messages_api.routing.route_table import RouteTable, routes

pytestmark = pytest.mark.django_db


@pytest.fixture
def table(owner: User) -> RouteTable:
    upstream = Upstream.objects.create(name="u", dialect="openai", base_url="http://127.0.0.1:9")
    for pattern, model in (("*", ""), ("exact", "other")):
        RouteTarget.objects.create(route=Route.objects.create(pattern=pattern), upstream=upstream, model=model)
    return routes.table(is_fresh=True)


def test_a_match_that_was_found_before_is_that_of_its_model(table: RouteTable) -> None:
    for _ in range(2):
        found = {model: table.find(model) for model in ("a", "b", "exact")}

        sent = {model: match and match.targets[0].target.model for model, match in found.items()}
        assert sent == {"a": "a", "b": "b", "exact": "other"}


def test_the_models_that_are_remembered_are_bounded(table: RouteTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_table, "MAX_MATCHES", 3)

    assert all(table.find(f"m{number}") for number in range(10))
    assert table.find("x" * (route_table.MAX_MODEL_LENGTH + 1)) is not None

    assert len(table._matches) == 3
