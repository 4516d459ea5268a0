"""Rotation loses no call: the old key works to its deadline and no longer, whoever rotates, and how often."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from keys.models import APIKey, KeySecret, UsageRecord
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.support.steady import SteadyCalls
from tests.upstream import ScriptedUpstream, replied

TTL_S = 1.0


def test_those_who_rotate_at_once_leave_two_secrets_alive(transactional_db: None, owner: User) -> None:
    api_key, _ = APIKey.objects.issue(name="app", owner=owner)
    ready = threading.Barrier(4)

    def rotate() -> None:
        try:
            ready.wait()
            APIKey.objects.get(pk=api_key.pk).rotate(overlap=timedelta(hours=1))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert KeySecret.objects.count() == 5
    live = KeySecret.objects.live(timezone.now())
    assert live.count() == 2 and live.filter(expires_at=None).count() == 1


@pytest.fixture(scope="module")
def server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    with GatewayServer(CONFIG_CACHE_TTL_S=f"{TTL_S:g}") as server:
        yield server


@pytest.fixture
def gateway(transactional_db: None, server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    return Gateway(server, upstream, owner)


def rotated_under_calls(
    gateway: Gateway, *, per_second: float, before_s: float, overlap_s: float, after_s: float
) -> tuple[SteadyCalls, str, float]:
    """Rotate while calls come in: by the old key all the time, and by the new one as soon as there is one.

    Return the calls, the new raw key, and when the old one ended.
    """
    gateway.upstream.queue(replied(), times=None)
    old = (gateway.port, gateway.raw_key)
    with SteadyCalls([old], per_second=per_second) as calls:  # until the process has learned of the test's route
        wait_until(lambda: any(call.status == 200 for call in calls.sent))
    with SteadyCalls([old], per_second=per_second) as calls:
        calls.go_on(before_s)
        _, raw = gateway.key.rotate(overlap=timedelta(seconds=overlap_s))
        calls.callers = [old, (gateway.port, raw)]
        calls.go_on(overlap_s + after_s)
    deadline = gateway.key.secrets.get(expires_at__isnull=False).expires_at
    assert deadline is not None
    return calls, raw, deadline.timestamp()


def check(calls: SteadyCalls, *, old: str, new: str, deadline: float, ttl_s: float) -> dict[str, int]:
    """What is promised. Return how many calls there were of each kind."""
    of_old = [call for call in calls.sent if call.raw_key == old]
    of_new = [call for call in calls.sent if call.raw_key == new]
    before = [call.status for call in of_old if call.done_at < deadline]
    after = [call.status for call in of_old if call.sent_at > deadline + ttl_s]
    assert set(before) == {200}, "a call with the old key was lost before its deadline"
    assert set(after) == {401}, "the old key outlived its deadline"
    assert {call.status for call in of_new} == {200}, "a call with the new key was lost"
    return {"old, before": len(before), "old, after": len(after), "new": len(of_new), "all": len(calls.sent)}


def test_no_call_is_lost_before_the_deadline_and_none_is_let_in_after_it(gateway: Gateway) -> None:
    calls, new, deadline = rotated_under_calls(gateway, per_second=20, before_s=2, overlap_s=3, after_s=TTL_S + 2)

    counts = check(calls, old=gateway.raw_key, new=new, deadline=deadline, ttl_s=TTL_S)

    assert min(counts.values()) > 10
    rows = UsageRecord.objects.exclude(status="rejected")
    assert set(rows.values_list("api_key", flat=True)) == {gateway.key.pk}
    assert set(rows.values_list("secret", flat=True)) == set(gateway.key.secrets.values_list("pk", flat=True))
