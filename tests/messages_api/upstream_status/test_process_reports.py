"""Circuit events, open circuits and rate limits of providers, as processes report them."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from keys.models import APIKey
from messages_api.backend import provider_limits
from messages_api.models import CircuitEvent, LedgerOutage, ProcessReport, Upstream
from messages_api.routing.circuit_breaker import CircuitBreakers
from messages_api.routing.circuit_log import MAX_WAITING, CircuitLog, circuit_log
from messages_api.routing.redis_circuits import circuit_breakers
from messages_api.upstream_status import process_reports
from messages_api.upstream_status.process_reports import Publisher
from tests.messages_api.backend.test_upstream_errors import endpoint
from tests.support.clock import Clock
from tests.support.gateway import Gateway, wait_until
from tests.upstream import body_of, body_response, failure
from tests.upstream.responses import JSON_HEADERS

URL = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def unreported() -> Iterator[None]:
    circuit_log.take()
    provider_limits.forget()
    circuit_breakers._breakers.clear()
    yield
    circuit_breakers._breakers.clear()


def fail(breaker: Any, times: int = 5) -> None:
    for i in range(times):
        breaker.record_failure("overloaded_error", key_id=i % 2)


def test_each_change_of_a_circuit_is_one_event_with_its_reason() -> None:
    log, clock = CircuitLog(), Clock()
    breaker = CircuitBreakers(clock=clock, note=log.note).of(endpoint(URL))
    for _ in range(3):
        breaker.record_success()
    fail(breaker, 20)
    for _ in range(4):  # probes, of which the first is an event
        clock.forward(10)
        assert breaker.permit(1) is not None
        breaker.record_failure("timeout_error", key_id=1)
    breaker.record_success()
    breaker.record_success()
    fail(breaker)

    changes = log.take()

    name = endpoint(URL).name
    assert [(each.upstream, each.change, each.reason) for each in changes] == [
        (name, "opened", "overloaded_error"),
        (name, "half_open", ""),
        (name, "closed", "overloaded_error"),
        (name, "opened", "overloaded_error"),
    ]
    assert all(abs(each.at - time.time()) < 60 for each in changes) and log.take() == []


def test_changes_that_wait_are_bounded() -> None:
    log = CircuitLog()
    for i in range(MAX_WAITING + 5):
        log.note(f"u{i}@x", "opened", "")
    taken = log.take()
    log.note("newer@x", "opened", "")
    log.put_back(taken)

    assert len(taken) == MAX_WAITING and taken[0].upstream == "u5"
    waiting = log.take()
    assert len(waiting) == MAX_WAITING and waiting[-1].upstream == "newer" and waiting[0].upstream == "u6"


def test_an_open_circuit_is_reported_until_it_closes(db: None) -> None:
    upstream = Upstream.objects.create(name="a", dialect="openai", base_url="http://127.0.0.1:9/v1")
    identity, publisher = upstream.endpoint().identity, Publisher()
    breaker = circuit_breakers.of(upstream.endpoint())
    publisher.run()
    assert not ProcessReport.objects.exists()  # nothing to report

    fail(breaker)
    publisher.run()
    found = process_reports.open_circuits(process_reports.live_reports())
    assert (found[identity].reason, found[identity].processes) == ("overloaded_error", 1)

    breaker.record_success()
    publisher.run()
    assert process_reports.open_circuits(process_reports.live_reports()) == {}
    assert list(CircuitEvent.objects.order_by("pk").values_list("upstream", "change")) == [
        ("a", "opened"),
        ("a", "closed"),
    ]


def test_the_report_of_a_dead_process_counts_for_a_minute(db: None) -> None:
    circuit = {"x@y": {"circuit": {"since": time.time(), "reason": "api_error"}, "limits": {}}}
    for age_s in (50, 70):
        ProcessReport.objects.create(
            process=str(age_s), reported_at=timezone.now() - timedelta(seconds=age_s), upstreams=circuit
        )

    assert [report.process for report in process_reports.live_reports()] == ["50"]


def test_old_events_and_all_beyond_a_number_are_deleted(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_reports, "MAX_EVENTS", 3)
    for days in (1, 2, 3, 4, 29, 31):
        at = timezone.now() - timedelta(days=days)
        CircuitEvent.objects.create(upstream=f"{days}", change="opened", process="p", at=at)
    LedgerOutage.objects.create(process="p", began_at=timezone.now(), ended_at=timezone.now() - timedelta(days=31))

    process_reports.purge()

    assert list(CircuitEvent.objects.values_list("upstream", flat=True)) == ["1", "2", "3"]
    assert not LedgerOutage.objects.exists()


# ---- Rate limits of providers.

LIMITS = {"Anthropic-RateLimit-Requests-Remaining": "49", "x-ratelimit-limit-tokens": "9000", "server": "x"}


def test_headers_are_remembered_with_their_time_when_later_responses_lack_them() -> None:
    provider_limits.observe("a@b", 200, LIMITS, now=10.0)
    provider_limits.observe("a@b", 429, {"retry-after": "7"}, now=10.1)
    provider_limits.observe("a@b", 200, {"server": "x"}, now=20.0)

    (found,) = provider_limits.last_seen().values()
    assert {name: value for name, (value, _) in found.items()} == {
        "anthropic-ratelimit-requests-remaining": "49",
        "x-ratelimit-limit-tokens": "9000",
        "retry-after": "7",
    }


def test_headers_of_successes_are_read_at_most_twice_per_second() -> None:
    for i in range(8):
        provider_limits.observe("a@b", 200, {"retry-after": str(i)}, now=i / 8)

    assert provider_limits.last_seen()["a@b"]["retry-after"][0] == "4"


def test_hostile_headers_are_bounded_and_printable() -> None:
    hostile = {f"x-ratelimit-{i}": "v\x1b\r\n" + "z" * 9_000 for i in range(500)}
    provider_limits.observe("a@b", 200, hostile, now=1.0)

    found = provider_limits.last_seen()["a@b"]
    assert len(found) == provider_limits.MAX_HEADERS
    assert all(len(value) == provider_limits.MAX_LENGTH and value.isprintable() for value, _ in found.values())


def test_headers_of_all_processes_are_merged_by_their_time(db: None) -> None:
    for process, at in (("old", 100.0), ("new", 200.0)):
        limits = {"retry-after": [process, at], f"x-ratelimit-{process}": ["1", at]}
        upstreams = {"a@b": {"circuit": None, "limits": limits}}
        ProcessReport.objects.create(process=process, reported_at=timezone.now(), upstreams=upstreams)

    found = process_reports.seen_headers(["a@b", "c@d"])

    assert [(each.name, each.value) for each in found["a@b"]] == [
        ("retry-after", "new"),
        ("x-ratelimit-new", "1"),
        ("x-ratelimit-old", "1"),
    ]
    assert found["c@d"] == []


def test_a_running_gateway_reports_its_circuits_and_the_limits_of_its_provider(gateway: Gateway) -> None:
    hello = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
    limits = [*JSON_HEADERS, ("x-ratelimit-remaining-requests", "41")]
    gateway.upstream.queue(lambda request: body_response(body_of(request), headers=limits))
    assert gateway.post("/api/v1/messages", hello).status == 200
    gateway.upstream.queue(failure(500), times=None)
    identity = gateway.upstream_row.endpoint().identity
    keys = [gateway.raw_key, APIKey.objects.issue(name="other", owner=gateway.owner)[1]]

    def is_reported() -> bool:
        for gateway.raw_key in keys:
            gateway.post("/api/v1/messages", hello)
        return identity in process_reports.open_circuits(process_reports.live_reports())

    wait_until(is_reported, within_s=60)
    assert CircuitEvent.objects.filter(upstream="scripted", change="opened").exists()
    (header,) = wait_until(lambda: process_reports.seen_headers([identity])[identity], within_s=60)
    assert (header.name, header.value) == ("x-ratelimit-remaining-requests", "41")
