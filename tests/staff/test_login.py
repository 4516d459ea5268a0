"""Login: five wrong passwords lock out a user name from one client IP, and no other."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from auditlog.models import LogEntry
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

LOGIN = "/admin/login/"
FAILED = "/admin/staff/failedlogin/"
PASSWORD = "a good password of ada"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    """Use a fast hasher: the real one takes 0.3 s for each of the hundred passwords here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", password=PASSWORD, is_staff=True)


@pytest.fixture
def visitor() -> Callable[..., Client]:
    """Return a function that creates a test client with a client IP, not signed in: `visitor("192.0.2.1")`."""
    return lambda address="192.0.2.1", **headers: Client(REMOTE_ADDR=address, **headers)


Visitor = Callable[..., Client]


def log_in(client: Client, username: str = "ada", password: str = PASSWORD, **extra: Any) -> Any:
    return client.post(LOGIN, {"username": username, "password": password, "next": "/admin/", **extra})


def fail(client: Client, times: int, username: str = "ada") -> Any:
    for _ in range(times):
        answer = log_in(client, username, "wrong")
    return answer


def test_four_wrong_passwords_are_forgiven(ada: User, visitor: Visitor) -> None:
    client = visitor()

    assert fail(client, 4).status_code == 200
    assert log_in(client).status_code == 302
    assert not AccessAttempt.objects.exists()


def test_after_five_wrong_passwords_the_right_one_is_rejected(ada: User, visitor: Visitor) -> None:
    client = visitor()

    answers = [fail(client, 1).status_code for _ in range(6)]
    answer = log_in(client)

    assert answers == [200, 200, 200, 200, 429, 429]
    assert answer.status_code == 429 and "_auth_user_id" not in client.session
    assert 890 <= int(answer["Retry-After"]) <= 900
    assert "Try again in 15 minutes" in answer.text and "gateway/theme" in answer.text


def test_other_users_and_other_client_ips_are_not_locked_out(ada: User, visitor: Visitor) -> None:
    User.objects.create_user("grace", password=PASSWORD, is_staff=True)
    fail(visitor(), 5)

    assert log_in(visitor(), "grace").status_code == 302
    assert log_in(visitor("192.0.2.2")).status_code == 302
    assert log_in(visitor()).status_code == 429


def test_another_browser_is_locked_out_too(ada: User, visitor: Visitor) -> None:
    for name in range(5):
        fail(visitor(HTTP_USER_AGENT=f"browser {name}"), 1)

    assert log_in(visitor()).status_code == 429


def test_ipv6_clients_are_counted_by_network(ada: User, visitor: Visitor) -> None:
    for last in range(1, 6):
        fail(visitor(f"2001:db8:1:2::{last}"), 1)

    assert log_in(visitor("2001:db8:1:2:ffff::1")).status_code == 429
    assert log_in(visitor("2001:db8:1:3::1")).status_code == 302


def test_a_forwarded_client_ip_is_used_only_behind_a_trusted_proxy(ada: User, visitor: Visitor, settings: Any) -> None:
    for last in range(5):
        fail(visitor(HTTP_X_FORWARDED_FOR=f"198.51.100.{last}"), 1)
    assert log_in(visitor(HTTP_X_FORWARDED_FOR="198.51.100.99")).status_code == 429

    settings.TRUSTED_PROXIES = ["192.0.2.9"]
    fail(visitor("192.0.2.9", HTTP_X_FORWARDED_FOR="203.0.113.5, 198.51.100.7"), 5)
    assert log_in(visitor("192.0.2.9", HTTP_X_FORWARDED_FOR="203.0.113.6, 198.51.100.7")).status_code == 429
    assert log_in(visitor("192.0.2.9", HTTP_X_FORWARDED_FOR="198.51.100.8")).status_code == 302


def test_the_lockout_ends_after_fifteen_minutes_despite_further_attempts(ada: User, visitor: Visitor) -> None:
    start = timezone.now()
    with time_machine.travel(start) as clock:
        fail(visitor(), 5)
        clock.move_to(start + timedelta(minutes=14))
        assert log_in(visitor()).status_code == 429
        clock.move_to(start + timedelta(minutes=15, seconds=1))
        assert log_in(visitor()).status_code == 302


def test_an_admin_unlocks_and_the_audit_log_records_it(ada: User, visitor: Visitor, browser: Client) -> None:
    fail(visitor(), 5)
    row = AccessAttempt.objects.get()
    page = browser.get(FAILED).text
    assert "ada" in page and "192.0.2.1" in page and "Locked until" in page

    browser.post(FAILED, {"action": "unlock_selected", "_selected_action": row.pk, "index": "0"})

    assert log_in(visitor()).status_code == 302
    entry = LogEntry.objects.get(object_repr="ada from 192.0.2.1")
    assert entry.actor and entry.actor.username == "root"


def test_the_command_unlocks_logins(ada: User, visitor: Visitor) -> None:
    fail(visitor(), 5)

    call_command("axes_reset")

    assert log_in(visitor()).status_code == 302


def test_no_password_attempt_is_stored_or_logged(ada: User, visitor: Visitor, caplog: Any) -> None:
    with caplog.at_level("DEBUG"):
        log_in(visitor(), password="canary-password", code="canary-code", csrfmiddlewaretoken="canary-csrf")
        log_in(visitor())

    kept = repr(list(AccessAttempt.objects.values())) + repr(list(AccessLog.objects.values())) + caplog.text
    assert "canary" not in kept and PASSWORD not in kept


def test_logins_are_listed_with_their_client_ip(ada: User, visitor: Visitor, browser: Client) -> None:
    client = visitor()
    log_in(client)
    client.post("/admin/logout/")

    row = re.search(r"<tr>.*?ada.*?</tr>", browser.get("/admin/staff/login/").text, re.S)

    assert row and "192.0.2.1" in row[0] and row[0].count("<time") == 2


def test_a_login_starts_a_new_session_and_a_logout_ends_it(ada: User, visitor: Visitor) -> None:
    client = visitor()
    planted = client.session  # as an attacker could have set it in this browser
    planted.save()
    log_in(client)
    cookie = client.cookies["sessionid"]
    assert cookie.value != planted.session_key

    client.post("/admin/logout/")

    assert not Session.objects.exists()
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (12 * 3600, True, "Strict")
    assert client.get("/admin/").status_code == 302


def test_a_new_password_ends_the_other_sessions(ada: User, visitor: Visitor) -> None:
    here, elsewhere = visitor(), visitor("192.0.2.2")
    log_in(here), log_in(elsewhere)
    new = "another good password of ada"

    here.post("/admin/password_change/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})

    assert here.get("/admin/").status_code == 200
    assert elsewhere.get("/admin/").status_code == 302


def test_a_deactivated_user_loses_access_immediately(ada: User, visitor: Visitor) -> None:
    client = visitor()
    log_in(client)

    User.objects.filter(pk=ada.pk).update(is_active=False)

    assert client.get("/admin/").status_code == 302


def test_a_session_lasts_twelve_hours(ada: User, visitor: Visitor) -> None:
    client, start = visitor(), timezone.now()
    with time_machine.travel(start) as clock:
        log_in(client)
        clock.move_to(start + timedelta(hours=11, minutes=59))
        assert client.get("/admin/").status_code == 200
        clock.move_to(start + timedelta(hours=12, seconds=1))
        assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("next", ["https://elsewhere.test/", "//elsewhere.test/", "javascript:alert(1)"])
def test_a_login_redirects_only_to_this_site(next: str, ada: User, visitor: Visitor) -> None:
    answer = log_in(visitor(), next=next)

    assert answer.status_code == 302 and answer["Location"] == "/admin/"
