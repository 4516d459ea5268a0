"""Attribution of requests: sessions, agents and tags in the usage record, and budgets in the response."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from keys.models import APIKey, Budget, Team, UsageRecord
from keys.usage import names
from tests.support.gateway import Gateway, wait_until

PATHS = ["/api/v1/messages", "/api/anthropic/v1/messages"]
HELLO: dict[str, Any] = {"model": "claude-3", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
SESSION = "d7aac3c6-c42e-4866-a1f9-074feef7c844"


def attributed(record: UsageRecord) -> tuple[str, str, str, str, Any]:
    return record.session_id, record.agent_id, record.parent_agent_id, record.request_class, record.tags


@pytest.mark.parametrize("path", PATHS)
def test_the_headers_of_claude_code_and_tags_are_recorded(gateway: Gateway, path: str) -> None:
    named = {
        "x-claude-code-session-id": SESSION,
        "x-claude-code-agent-id": "agent-1",
        "x-claude-code-parent-agent-id": "agent-0",
        "x-claude-code-request-class": "subagent",
        "x-gateway-tag": "team=search, ticket=ABC-1",
    }

    assert gateway.post(path, HELLO, headers=gateway.headers() | named).status == 200

    tags = {"team": "search", "ticket": "ABC-1"}
    assert attributed(gateway.record()) == (SESSION, "agent-1", "agent-0", "subagent", tags)


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        (json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION}), SESSION),
        (f"user_abc_account__session_{SESSION}", SESSION),
        ("an opaque ID", ""),
        ("{broken", ""),
        ('{"session_id": 7}', ""),
        ("[" * 1000, ""),
        (json.dumps({"session_id": "s" * 100}), "s" * 64),
        (json.dumps({"session_id": "a\u0000b\n"}), "ab"),
    ],
)
def test_the_session_of_the_body_counts_without_a_header(gateway: Gateway, user_id: str, session: str) -> None:
    gateway.post("/api/anthropic/v1/messages", HELLO | {"metadata": {"user_id": user_id}})

    assert gateway.record().session_id == session
    assert "device" not in repr(UsageRecord.objects.values())


@pytest.mark.parametrize(
    "tag",
    ["team", "=x", "1=x", "a b=c", "a=", "a=b c", "a=" + "x" * 65, "n" * 33 + "=x", "a=1,b=2,c=3,d=4,e=5,f=6", "a=1,,"],
)
def test_invalid_tags_are_rejected_by_name(gateway: Gateway, tag: str) -> None:
    response = gateway.post("/api/v1/messages", HELLO, headers=gateway.headers() | {"x-gateway-tag": tag})

    assert response.status == 400
    assert "x-gateway-tag: expected" in response.body.decode()
    assert gateway.upstream.requests == []


def test_tags_beyond_the_bound_are_one_group() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    bounded = [names.bounded_tags({"n": str(number)}, key_id=1, at=at) for number in range(150)]
    many = names.bounded_tags({f"name-{number}": "x" for number in range(50)}, key_id=2, at=at)
    other_key = names.bounded_tags({"n": "new"}, key_id=3, at=at)

    assert bounded[99:102] == [{"n": "99"}, {"n": "(other)"}, {"n": "(other)"}]
    assert (len(many), other_key) == (20, {"n": "new"})
    assert names.bounded_tags({"n": "later"}, key_id=1, at=at.replace(hour=1)) == {"n": "later"}


@pytest.mark.parametrize("term", [SESSION, "agent-1", "team=search"])
def test_requests_are_found_by_session_agent_and_tag(gateway: Gateway, browser: Client, term: str) -> None:
    named = {
        "x-claude-code-session-id": SESSION,
        "x-claude-code-agent-id": "agent-1",
        "x-gateway-tag": "team=search",
    }
    gateway.post("/api/v1/messages", HELLO, headers=gateway.headers() | named)
    gateway.post("/api/v1/messages", HELLO, headers=gateway.headers() | {"x-gateway-tag": "team=other"})
    named_record = next(record for record in gateway.settled(2) if record.session_id)

    found = browser.get("/admin/keys/usagerecord/", {"q": term}).text
    page = browser.get(f"/admin/keys/usagerecord/{named_record.pk}/change/").text

    assert [record.pk in found for record in gateway.settled(2)] == [
        record.pk == named_record.pk for record in gateway.settled(2)
    ]
    assert term in page
    assert "team=nothing" not in browser.get("/admin/keys/usagerecord/", {"q": "team"}).text


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("path", PATHS)
def test_a_response_states_the_budget_without_what_is_in_flight(gateway: Gateway, path: str, stream: bool) -> None:
    Budget.objects.create(api_key=gateway.key, amount=100, unit="tokens", period="month")
    first = gateway.post(path, HELLO | {"stream": stream})
    second = gateway.post(path, HELLO | {"stream": stream})
    Budget.objects.update(amount=120)

    third = gateway.post(path, HELLO | {"max_tokens": 32, "stream": stream})
    spent = gateway.post(path, HELLO | {"stream": stream})

    name = "anthropic-ratelimit-unified-overage-utilization"
    assert [first.headers[name], second.headers[name], third.headers[name]] == ["0.00", "0.21", "0.35"]
    assert first.headers["anthropic-ratelimit-unified-status"] == "allowed"
    assert (spent.status, spent.headers["anthropic-ratelimit-unified-status"]) == (402, "rejected")
    assert spent.headers["anthropic-ratelimit-unified-overage-period"] == "monthly"


def test_a_response_without_a_budget_states_none(gateway: Gateway) -> None:
    response = gateway.post("/api/anthropic/v1/messages", HELLO)

    assert [name for name in response.headers if "unified" in name] == []


@pytest.mark.parametrize("path", ["/api/anthropic", "/api/anthropic/", "/api/anthropic/api/hello"])
def test_a_probe_of_the_base_url_logs_no_warning(gateway: Gateway, path: str) -> None:
    before = gateway.server.log_path.read_text()

    response = gateway.request("HEAD", path, headers={})

    assert (response.status, response.body) == (200, b"")
    assert "WARNING" not in gateway.server.log_path.read_text().removeprefix(before)


def test_a_key_that_moves_leaves_its_history_with_its_owner(gateway: Gateway) -> None:
    def send(model: str) -> None:
        gateway.post("/api/v1/messages", HELLO | {"model": model})

    team = Team.objects.create(name="search")
    send("before")
    APIKey.objects.filter(pk=gateway.key.pk).update(owner=None, team=team)

    def is_moved() -> bool:
        send("after")
        return UsageRecord.objects.filter(team=team).exists()

    wait_until(is_moved)
    APIKey.objects.filter(pk=gateway.key.pk).update(allowed_models=["none"])

    def is_rejected() -> bool:
        send("after")
        return UsageRecord.objects.filter(status="rejected").exists()

    wait_until(is_rejected)

    owners = {(each.model, each.status): (each.owner_id, each.team_id) for each in gateway.settled(3)}
    of_team = (None, team.pk)
    assert owners[("before", "completed")] == (gateway.owner.pk, None)
    assert owners[("after", "rejected")] == of_team
    assert UsageRecord.objects.filter(model="after").order_by("-created_at")[0].team_id == team.pk
