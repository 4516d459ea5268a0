"""Routes: editing with targets, and the preview of the targets for a model."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from keys.models import APIKey
from messages_api.models import Route, RouteTarget, Upstream
from messages_api.routing.redis_circuits import circuit_breakers

LIST = "/admin/messages_api/route/"
PREVIEW = f"{LIST}preview/"


def upstream(name: str, **fields: Any) -> Upstream:
    return Upstream.objects.create(name=name, dialect="openai", base_url=f"http://127.0.0.1:9/{name}/v1", **fields)


@pytest.fixture
def upstreams(db: None) -> Iterator[dict[str, Upstream]]:
    """Create two targets of the first priority, a fallback with another model, and a disabled one."""
    rows = {name: upstream(name) for name in ("first", "twin", "other")} | {"off": upstream("off", enabled=False)}
    route = Route.objects.create(pattern="claude-*")
    RouteTarget.objects.create(route=route, upstream=rows["first"], weight=3)
    RouteTarget.objects.create(route=route, upstream=rows["twin"], weight=1)
    RouteTarget.objects.create(route=route, upstream=rows["other"], model="llama", priority=1)
    RouteTarget.objects.create(route=route, upstream=rows["off"], priority=2)
    yield rows
    for row in rows.values():
        circuit_breakers.of(row.endpoint()).record_success()


def lines(browser: Client, **query: str) -> list[tuple[str, bool, str]]:
    preview = browser.get(PREVIEW, query).context["preview"]
    return [(status.routed.target.endpoint.name, status.is_used, status.reason) for status in preview.targets]


def test_the_preview_names_the_targets_in_order_with_the_reason_for_each(
    browser: Client, upstreams: dict[str, Upstream]
) -> None:
    assert lines(browser, model="claude-3") == [
        ("first", True, "First attempt for 75 % of requests."),
        ("twin", True, "First attempt for 25 % of requests."),
        ("other", True, "Fallback: used when higher-priority targets fail."),
        ("off", False, "Upstream disabled."),
    ]


def test_a_fallback_model_must_be_allowed_for_the_key(
    browser: Client, upstreams: dict[str, Upstream], issue: Callable[..., tuple[APIKey, str]]
) -> None:
    narrow, _ = issue(allowed_models=["claude-*"])
    wide, _ = issue(allowed_models=["claude-*", "llama"])

    assert lines(browser, model="claude-3", key=narrow.public_id)[2] == (
        "other",
        False,
        "Fallback model that the API key is not allowed to use.",
    )
    assert lines(browser, model="claude-3", key=wide.public_id)[2][1]


def test_a_target_with_an_open_circuit_is_shown(browser: Client, upstreams: dict[str, Upstream]) -> None:
    circuit = circuit_breakers.of(upstreams["first"].endpoint())
    for key_id in range(5):
        circuit.record_failure("overloaded_error", key_id=key_id)

    name, is_asked, why = lines(browser, model="claude-3")[0]

    assert (name, is_asked) == ("first", False)
    assert why.startswith("Circuit open (overloaded_error); next probe in")
    assert "overloaded_error since" in browser.get("/admin/messages_api/upstream/").text


def test_if_all_circuits_are_open_the_first_target_is_used(browser: Client, upstreams: dict[str, Upstream]) -> None:
    for row in upstreams.values():
        for key_id in range(5):
            circuit_breakers.of(row.endpoint()).record_failure("api_error", key_id=key_id)

    assert [is_asked for _, is_asked, _ in lines(browser, model="claude-3")] == [True, False, False, False]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({"model": "gpt-5"}, "No route matches: requests are rejected with 404.", id="no route"),
        pytest.param({"model": "claude-3"}, "Longest matching prefix.", id="prefix"),
        pytest.param({"model": "claude-3", "key": "key_nobody"}, "API key not found.", id="unknown key"),
        pytest.param({"model": ""}, "This field is required.", id="no model"),
    ],
)
def test_the_preview_says_why_this_route(
    browser: Client, upstreams: dict[str, Upstream], query: dict[str, str], expected: str
) -> None:
    assert expected in browser.get(PREVIEW, query).text


def test_a_key_that_may_not_use_the_model_is_rejected(
    browser: Client, upstreams: dict[str, Upstream], issue: Callable[..., tuple[APIKey, str]]
) -> None:
    api_key, _ = issue(allowed_models=["gpt-*"])

    assert "rejected with 403" in browser.get(PREVIEW, {"model": "claude-3", "key": api_key.public_id}).text


def test_the_preview_needs_the_permission_to_view_routes(browser_of: Callable[..., Client]) -> None:
    assert browser_of("view_apikey").get(PREVIEW).status_code == 403


def test_a_route_is_edited_with_its_targets(browser: Client, upstreams: dict[str, Upstream]) -> None:
    answer = browser.post(
        f"{LIST}add/",
        {
            "pattern": "gpt-5",
            "targets-TOTAL_FORMS": "2",
            "targets-INITIAL_FORMS": "0",
            "targets-0-upstream": str(upstreams["first"].pk),
            "targets-0-model": "gpt-5-mini",
            "targets-0-priority": "0",
            "targets-0-weight": "2",
            "targets-1-upstream": str(upstreams["other"].pk),
            "targets-1-priority": "1",
            "targets-1-weight": "1",
        },
    )

    assert answer.status_code == 302
    assert list(Route.objects.get(pattern="gpt-5").targets.values_list("upstream__name", "model", "priority")) == [
        ("first", "gpt-5-mini", 0),
        ("other", "", 1),
    ]


@pytest.mark.parametrize(
    "targets",
    [{"TOTAL_FORMS": "0"}, {"TOTAL_FORMS": "1", "0-priority": "0", "0-weight": "1", "0-DELETE": "on"}],
    ids=["none", "its only one deleted"],
)
def test_a_route_without_a_target_is_rejected(
    browser: Client, upstreams: dict[str, Upstream], targets: dict[str, str]
) -> None:
    if "0-DELETE" in targets:
        targets |= {"0-upstream": str(upstreams["first"].pk)}
    form = {f"targets-{name}": value for name, value in targets.items()}

    answer = browser.post(f"{LIST}add/", {"pattern": "gpt-*", "targets-INITIAL_FORMS": "0", **form})

    assert "A route needs at least one target" in answer.text
    assert not Route.objects.filter(pattern="gpt-*").exists()
