"""Rotation loses no request: the previous secret is valid exactly until it expires, also under concurrent rotations."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from keys.models import APIKey, KeySecret, UsageRecord
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.support.steady_requests import SteadyRequests
from tests.upstream import ScriptedUpstream, replied

TTL_S = 1.0


def test_concurrent_rotations_leave_two_valid_secrets(transactional_db: None, owner: User) -> None:
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


def rotate_under_load(
    gateway: Gateway, *, per_second: float, before_s: float, overlap_s: float, after_s: float
) -> tuple[SteadyRequests, str, float]:
    """Rotate under load: with the old key all the time, and with the new one as soon as it is issued.

    Return the requests, the new raw key, and the time when the old one expired.
    """
    gateway.upstream.queue(replied(), times=None)
    old = (gateway.port, gateway.raw_key)
    with SteadyRequests([old], per_second=per_second) as requests:  # until the process has read the test's route
        wait_until(lambda: any(request.status == 200 for request in requests.sent))
    with SteadyRequests([old], per_second=per_second) as requests:
        requests.continue_for(before_s)
        _, raw = gateway.key.rotate(overlap=timedelta(seconds=overlap_s))
        requests.clients = [old, (gateway.port, raw)]
        requests.continue_for(overlap_s + after_s)
    deadline = gateway.key.secrets.get(expires_at__isnull=False).expires_at
    assert deadline is not None
    return requests, raw, deadline.timestamp()


def check(requests: SteadyRequests, *, old: str, new: str, deadline: float, ttl_s: float) -> dict[str, int]:
    """Check what rotation guarantees. Return the number of requests of each kind."""
    of_old = [request for request in requests.sent if request.raw_key == old]
    of_new = [request for request in requests.sent if request.raw_key == new]
    before = [request.status for request in of_old if request.done_at < deadline]
    after = [request.status for request in of_old if request.sent_at > deadline + ttl_s]
    assert set(before) == {200}, "a request with the old key was rejected before it expired"
    assert set(after) == {401}, "the old key was accepted after it expired"
    assert {request.status for request in of_new} == {200}, "a request with the new key was rejected"
    return {"old, before": len(before), "old, after": len(after), "new": len(of_new), "all": len(requests.sent)}


def test_no_request_is_rejected_before_the_old_key_expires_and_all_are_after(gateway: Gateway) -> None:
    requests, new, deadline = rotate_under_load(gateway, per_second=20, before_s=2, overlap_s=3, after_s=TTL_S + 2)

    counts = check(requests, old=gateway.raw_key, new=new, deadline=deadline, ttl_s=TTL_S)

    assert min(counts.values()) > 10
    rows = UsageRecord.objects.exclude(status="rejected")
    assert set(rows.values_list("api_key", flat=True)) == {gateway.key.pk}
    assert set(rows.values_list("secret", flat=True)) == set(gateway.key.secrets.values_list("pk", flat=True))
