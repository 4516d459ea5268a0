"""Parallel logins, codes and key attempts: each is counted before it is verified, so none passes a limit together."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User

from keys.access.lookup_throttle import MAX_ATTEMPTS
from keys.domain import raw_key
from staff.login_backend import MAX_CONCURRENT
from staff.models import Authenticator
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.support.login_page import LoginPage
from tests.upstream import ScriptedUpstream

LOGINS = 80
PASSWORD = "the right password"


@pytest.fixture
def ada(transactional_db: None) -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


@pytest.fixture
def pages(shared_server: GatewayServer) -> Iterator[list[LoginPage]]:
    """Open login pages in so many browsers, on all workers."""
    with ExitStack() as stack:
        yield [stack.enter_context(LoginPage(shared_server.port)) for _ in range(LOGINS)]


def log_in_together(pages: list[LoginPage], logins: list[tuple[str, str]]) -> list[int]:
    with ThreadPoolExecutor(len(pages)) as pool:
        return list(pool.map(lambda page, login: page.log_in(*login), pages, logins))


def test_the_last_of_parallel_logins_does_not_succeed(ada: User, pages: list[LoginPage]) -> None:
    """The right password arrives while wrong ones wait to be hashed, and before five of them have failed."""
    with ThreadPoolExecutor(LOGINS) as pool:
        wrong = [pool.submit(page.log_in, "ada", f"wrong {number}") for number, page in enumerate(pages[1:])]
        limit = settings.AXES_FAILURE_LIMIT
        wait_until(
            lambda: (
                AccessAttempt.objects.filter(failures_since_start=limit).exists()
                or sum(login.done() for login in wrong) == limit - 1
            )
        )
        right = pages[0].log_in("ada", PASSWORD)
        statuses = Counter(login.result() for login in wrong)

    assert right == 429
    assert statuses[200] <= limit and statuses[200] + statuses[429] == LOGINS - 1
    assert AccessAttempt.objects.get().failures_since_start == limit


def test_a_lockout_costs_no_hash(ada: User, pages: list[LoginPage], shared_server: GatewayServer) -> None:
    limit = settings.AXES_FAILURE_LIMIT
    before_s = cpu_s(shared_server)
    log_in_together(pages[:limit], [("ada", "wrong")] * limit)
    hashed_s = (cpu_s(shared_server) - before_s) / limit

    before_s = cpu_s(shared_server)
    statuses = log_in_together(pages, [("ada", PASSWORD)] * LOGINS)
    rejected_s = (cpu_s(shared_server) - before_s) / LOGINS

    assert statuses == [429] * LOGINS
    assert rejected_s < hashed_s / 2  # a hash takes 0.3 s


def cpu_s(server: GatewayServer) -> float:
    """Return the CPU time of all workers."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in server.worker_pids()]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def test_parallel_logins_with_the_right_password_succeed(ada: User, pages: list[LoginPage]) -> None:
    statuses = log_in_together(pages[:4], [("ada", PASSWORD)] * 4)

    assert statuses == [302] * 4
    assert not AccessAttempt.objects.exists()


def test_a_flood_with_many_user_names_waits_for_few_hashes(ada: User, pages: list[LoginPage]) -> None:
    statuses = Counter(log_in_together(pages, [(f"name {number}", "wrong") for number in range(LOGINS)]))

    assert statuses[200] >= MAX_CONCURRENT and statuses[429] >= 1
    assert pages[0].log_in("ada", PASSWORD) == 302


def test_parallel_codes_are_checked_one_at_a_time(ada: User) -> None:
    Authenticator.start(ada)
    Authenticator.objects.update(confirmed=True)
    with GatewayServer(ADMIN_TWO_FACTOR="optional", WEB_CONCURRENCY="1") as server, ExitStack() as stack:
        pages = [stack.enter_context(LoginPage(server.port)) for _ in range(8)]
        for page in pages:
            assert page.log_in("ada", PASSWORD) == 302
            assert page.get("/admin/two-factor/code/") == 200
        with ThreadPoolExecutor(len(pages)) as pool:
            statuses = Counter(pool.map(lambda page: page.post("/admin/two-factor/code/", code="000000"), pages))

    assert Authenticator.objects.get().throttling_failure_count == 1
    assert AccessAttempt.objects.get().failures_since_start <= settings.AXES_FAILURE_LIMIT
    assert set(statuses) <= {200, 429}


def test_parallel_key_attempts_stay_within_the_limit(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    """The limit is that of one worker. Its gateway serves no other test: their new keys would wait for a minute."""
    keys = [raw_key.generate() for _ in range(4 * MAX_ATTEMPTS)]

    with GatewayServer(WEB_CONCURRENCY="1") as server, ThreadPoolExecutor(len(keys)) as pool:
        gateway = Gateway(server, upstream, owner)
        statuses = Counter(
            pool.map(
                lambda key: gateway.request("GET", "/api/v1/key", headers={"x-api-key": key}).status,
                keys,
            )
        )

    assert statuses[401] <= MAX_ATTEMPTS and statuses[401] + statuses[429] == len(keys)
