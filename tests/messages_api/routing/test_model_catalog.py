"""Model catalog: the models of routes with a pattern, as their upstreams list them or an admin names them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from keys.access import snapshots
from keys.access.snapshots import Snapshot
from keys.models import APIKey
from messages_api.models import ModelCatalog, Route, RouteTarget, Upstream
from messages_api.routing import model_catalog
from tests.messages_api.backend.protocol.test_model_capabilities import CAPABILITIES
from tests.upstream import ScriptedUpstream, body_response, failure

ANTHROPIC = {
    "type": "model",
    "id": "claude-new",
    "display_name": "Claude New",
    "created_at": "2026-03-01T00:00:00Z",
    "lifecycle": "deprecated",
    "max_tokens": 64_000,
    "capabilities": None,
}
OPENAI = {"id": "gpt-5", "object": "model", "created": 1_767_225_600, "owned_by": "someone", "context_length": 400_000}


@pytest.fixture(autouse=True)
def interval(settings: Any) -> None:
    settings.MODEL_LIST_INTERVAL_S = 3600.0


@pytest.fixture
def add(db: None, upstream: ScriptedUpstream) -> Callable[..., Upstream]:
    def add(pattern: str, *, name: str = "scripted", model: str = "", priority: int = 0, **fields: Any) -> Upstream:
        values = {"base_url": upstream.url, "dialect": "anthropic", **fields}
        row, _ = Upstream.objects.get_or_create(name=name, defaults=values)
        route, _ = Route.objects.get_or_create(pattern=pattern)
        RouteTarget.objects.create(route=route, upstream=row, model=model, priority=priority)
        return row

    return add


@pytest.fixture
def issue(owner: User) -> Callable[..., Snapshot]:
    def issue(**fields: Any) -> Snapshot:
        api_key, _ = APIKey.objects.issue(name="tests", owner=owner, **fields)
        return snapshots.by_public_id(api_key.public_id)

    return issue


def lists(*entries: dict[str, Any]) -> Any:
    return body_response({"data": list(entries)})


def ids(key: Snapshot) -> list[str]:
    return [model["id"] for model in model_catalog.models(key=key)]


def test_a_pattern_lists_what_its_upstream_lists(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    add("claude-*")
    upstream.queue(lists({"id": "claude-old"}, ANTHROPIC, {"id": "other"}))

    model_catalog.refresh()

    assert model_catalog.models(key=issue()) == [
        {
            "id": "claude-new",
            "display_name": "Claude New",
            "created_at": "2026-03-01T00:00:00Z",
            "lifecycle": "deprecated",
            "max_tokens": 64_000,
        },
        {"id": "claude-old", "lifecycle": "active"},
    ]
    (request,) = upstream.requests
    assert (request.method, request.path) == ("GET", "/v1/models?limit=1000")
    assert "content-length" not in request.headers


def test_the_openai_dialect_is_read(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    row = add("*", dialect="openai")
    row.set_credential("the-upstream-credential")
    row.save()
    upstream.queue(lists(OPENAI))

    model_catalog.refresh()

    assert model_catalog.models(key=issue()) == [
        {"id": "gpt-5", "created_at": "2026-01-01T00:00:00Z", "max_input_tokens": 400_000, "lifecycle": "active"}
    ]
    assert upstream.requests[0].headers["authorization"] == "Bearer the-upstream-credential"


def test_a_key_sees_the_models_that_it_may_use(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    add("*")
    add("exact")
    upstream.queue(lists({"id": "a-1"}, {"id": "a-2"}, {"id": "b-1"}))

    model_catalog.refresh()

    assert ids(issue()) == ["a-1", "a-2", "b-1", "exact"]
    assert ids(issue(allowed_models=["a-*"])) == ["a-1", "a-2"]
    assert ids(issue(allowed_models=["b-1", "exact"])) == ["b-1", "exact"]


def test_a_route_describes_its_model(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    add("claude-new")
    add("alias", model="claude-new")
    upstream.queue(lists(ANTHROPIC))

    model_catalog.refresh()

    key = issue()
    assert {model["id"]: model["display_name"] for model in model_catalog.models(key=key)} == {
        "claude-new": "Claude New",
        "alias": "alias",  # another model would have its name otherwise
    }
    found = model_catalog.find("alias", key=key)
    assert found is not None and found["max_tokens"] == 64_000


DESCRIBED = {**ANTHROPIC, "capabilities": CAPABILITIES, "line": "opus", "allowed_fallback_models": ["claude-old"]}


@pytest.mark.parametrize("pattern", ["claude-*", "claude-new"])
@pytest.mark.parametrize(
    ("second", "is_passed_on"),
    [
        pytest.param(DESCRIBED, True, id="equal"),
        pytest.param({**DESCRIBED, "capabilities": CAPABILITIES | {"batch": {"supported": False}}}, False, id="other"),
        pytest.param({"id": "claude-new"}, False, id="none"),
        pytest.param({"id": "claude-old"}, True, id="not listed"),
    ],
)
@pytest.mark.parametrize("priority", [0, 1])
def test_capabilities_are_those_of_all_upstreams(
    add: Any, issue: Any, upstream: ScriptedUpstream, pattern: str, second: Any, is_passed_on: bool, priority: int
) -> None:
    add(pattern)
    add(pattern, name="second", base_url=f"{upstream.url}/second", priority=priority)
    add(pattern, name="fallback", base_url=f"{upstream.url}/fallback", priority=2, model="other")
    add(pattern, name="off", base_url=f"{upstream.url}/off", enabled=False)
    listed = {"/v1": DESCRIBED, "/second/v1": second}
    upstream.queue(lambda request: lists(listed.get(request.path.partition("/models")[0], OPENAI)), times=None)

    model_catalog.refresh()

    model = model_catalog.find("claude-new", key=issue())
    assert model in model_catalog.models(key=issue())
    assert model == {
        "id": "claude-new",
        "display_name": "Claude New",
        "created_at": "2026-03-01T00:00:00Z",
        "lifecycle": "deprecated",
        "max_tokens": 64_000,
        **({"capabilities": CAPABILITIES} if is_passed_on else {}),
        **({"line": "opus", "allowed_fallback_models": ["claude-old"]} if second != {"id": "claude-new"} else {}),
    }


def test_fallback_models_are_those_that_the_key_may_use(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    add("*")
    upstream.queue(lists({"id": "claude-new", "allowed_fallback_models": ["claude-old", "claude-older"]}))
    model_catalog.refresh()

    found = model_catalog.find("claude-new", key=issue(allowed_models=["claude-new", "claude-old"]))

    assert found is not None and found["allowed_fallback_models"] == ["claude-old"]


def test_a_more_specific_route_decides(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    add("*", name="other", base_url="http://127.0.0.1:9", enabled=False)
    add("*", priority=1)
    add("claude-*", name="claude", model="claude-new")  # every name of the pattern is this one model
    upstream.queue(lists({"id": "claude-old"}, {"id": "gpt-5"}), times=None)

    model_catalog.refresh()

    assert ids(issue()) == ["gpt-5"]


def test_names_of_the_admin_replace_the_list(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    add("*", model_names=["claude-new", "hidden"])
    upstream.queue(lists(ANTHROPIC, {"id": "claude-old"}))

    model_catalog.refresh()

    assert ids(issue()) == ["claude-new", "hidden"]
    assert model_catalog.models(key=issue())[0]["display_name"] == "Claude New"


@pytest.mark.parametrize("response", [failure(404), failure(500), lists(), body_response(["no list"])])
def test_an_upstream_without_a_list_is_tolerated(
    add: Any, issue: Any, upstream: ScriptedUpstream, response: Any
) -> None:
    add("*")
    add("exact")
    upstream.queue(response, times=None)

    model_catalog.refresh()
    model_catalog.refresh()

    assert ids(issue()) == ["exact"]
    assert len(upstream.requests) == 1  # and is not asked again soon


def test_an_outage_removes_no_model(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    add("*")
    upstream.queue(lists({"id": "a"}))
    model_catalog.refresh()
    ModelCatalog.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    upstream.queue(failure(503))

    model_catalog.refresh()

    assert ids(issue()) == ["a"]
    assert ModelCatalog.objects.get().error == "The upstream responded with HTTP 503."


def test_the_list_of_another_base_url_does_not_count(add: Any, issue: Any, upstream: ScriptedUpstream) -> None:
    row = add("*")
    upstream.queue(lists({"id": "a"}))
    model_catalog.refresh()
    row.base_url = f"{upstream.url}/v1"
    row.save()
    assert ids(issue()) == []
    upstream.queue(lists({"id": "b"}))

    model_catalog.refresh()

    assert ids(issue()) == ["b"]


def test_a_list_is_read_once_per_interval(add: Any, settings: Any, upstream: ScriptedUpstream) -> None:
    add("*")
    model_catalog.refresh()
    model_catalog.refresh()
    assert len(upstream.requests) == 1

    settings.MODEL_LIST_INTERVAL_S = 0.0
    ModelCatalog.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    model_catalog.refresh()

    assert len(upstream.requests) == 1
