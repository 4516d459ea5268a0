"""Two-factor authentication: setup, login with a code, recovery by codes and by a command."""

import re
from base64 import b32decode, b32encode
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from auditlog.models import LogEntry
from cryptography.fernet import Fernet
from django.apps import apps
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django_otp.oath import totp

from staff.models import Authenticator, RecoveryCode

LOGIN = "/admin/login/"
PAGE = "/admin/two-factor/"
CODE = "/admin/two-factor/code/"
IMAGE = "/admin/two-factor/image.svg"
PASSWORD = "a good password of ada"


class Ada:
    """A user with a browser and an authenticator app. The clock stops except for `waits`."""

    def __init__(self, clock: Any) -> None:
        self.user = User.objects.create_user("ada", password=PASSWORD, is_staff=True)
        self.client = Client(REMOTE_ADDR="192.0.2.1")
        self._clock = clock

    def waits(self, seconds: float = 30) -> None:
        self._clock.shift(timedelta(seconds=seconds))

    def gives_password(self, *, to: str = "/admin/") -> Any:
        return self.client.post(LOGIN, {"username": "ada", "password": PASSWORD, "next": to}, follow=True)

    def code(self) -> str:
        """Return the current code of the app."""
        return f"{totp(Authenticator.objects.get().secret()):06d}"

    def gives_code(self, code: str, **fields: str) -> Any:
        return self.client.post(CODE, {"code": code, **fields})

    def posts(self, action: str, code: str = "") -> Any:
        return self.client.post(PAGE, {"action": action, "code": code})

    def sets_up(self) -> list[str]:
        """Set it up in a verified session. Return the recovery codes."""
        self.client.force_login(self.user)
        self.posts("start")
        return recovery_codes(self.posts("confirm", self.code()))

    def is_in(self) -> bool:
        return self.client.get("/admin/password_change/").status_code == 200


def recovery_codes(answer: Any) -> list[str]:
    return re.findall(r"<code>(\w{5}-\w{5})</code>", answer.text)


@pytest.fixture
def ada(db: None, settings: Any) -> Iterator[Ada]:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.ADMIN_TWO_FACTOR = "optional"
    with time_machine.travel(timezone.now(), tick=False) as clock:
        yield Ada(clock)


# ---- The setting.


def test_off_disables_two_factor_authentication(ada: Ada, settings: Any) -> None:
    ada.sets_up()
    settings.ADMIN_TWO_FACTOR = "off"
    client = ada.client = Client()
    page = ada.gives_password()

    assert ada.is_in() and "Two-factor authentication" not in page.text
    assert [client.get(address).status_code for address in (PAGE, CODE, IMAGE)] == [404, 404, 404]


def test_optional_does_not_ask_users_who_have_not_set_it_up(ada: Ada) -> None:
    page = ada.gives_password()

    assert ada.is_in()
    assert f'href="{PAGE}"' in page.text


def test_required_opens_no_page_before_the_setup(ada: Ada, settings: Any) -> None:
    settings.ADMIN_TWO_FACTOR = "required"
    answer = ada.gives_password(to="/admin/password_change/")

    assert answer.redirect_chain[-1][0].startswith(PAGE)
    assert "requires two-factor authentication" in answer.text
    assert not ada.is_in()

    ada.posts("start")
    ada.posts("confirm", ada.code())

    assert ada.is_in()


def test_required_redirects_existing_sessions_to_the_setup(ada: Ada, settings: Any) -> None:
    ada.client.force_login(ada.user)
    assert ada.is_in()

    settings.ADMIN_TWO_FACTOR = "required"

    assert not ada.is_in()
    assert ada.client.get("/admin/", follow=True).redirect_chain[-1][0].startswith(PAGE)


def test_a_user_can_log_out_before_setup_and_verification(ada: Ada, settings: Any) -> None:
    settings.ADMIN_TWO_FACTOR = "required"
    ada.gives_password()

    ada.client.post("/admin/logout/")

    assert "_auth_user_id" not in ada.client.session


@pytest.mark.parametrize("address", [PAGE, CODE, IMAGE])
def test_anonymous_users_are_redirected_to_the_login(address: str, ada: Ada) -> None:
    answer = Client().get(address)

    assert answer.status_code == 302 and answer["Location"].startswith(LOGIN)


# ---- Setup.


def test_opening_the_page_creates_no_secret(ada: Ada) -> None:
    ada.client.force_login(ada.user)

    assert "Two-factor authentication is disabled" in ada.client.get(PAGE).text
    assert not Authenticator.objects.exists()


def test_no_code_is_required_before_the_confirmation(ada: Ada) -> None:
    ada.client.force_login(ada.user)
    ada.posts("start")
    ada.client = Client()
    ada.gives_password()

    assert ada.is_in()


def test_setup_is_confirmed_with_a_code_of_the_app(ada: Ada) -> None:
    ada.client.force_login(ada.user)
    ada.posts("start")
    page, image = ada.client.get(PAGE), ada.client.get(IMAGE)

    assert image["Content-Type"] == "image/svg+xml" and image.content.startswith(b"<?xml")
    assert "no-store" in image["Cache-Control"] and "no-store" in page["Cache-Control"]
    assert "Invalid code" in ada.posts("confirm", "000000").text
    ada.waits()
    answer = ada.posts("confirm", ada.code())

    assert len(set(recovery_codes(answer))) == 10 and "no-store" in answer["Cache-Control"]
    assert ada.is_in()
    assert ada.client.get(IMAGE).status_code == 404
    assert "setup-key" not in ada.client.get(PAGE).text


def test_the_text_and_the_image_are_the_same_secret(ada: Ada) -> None:
    ada.client.force_login(ada.user)
    ada.posts("start")

    shown = re.search(r'<code class="setup-key">([A-Z2-7 ]+)</code>', ada.client.get(PAGE).text)

    assert shown and b32decode(shown[1].replace(" ", "")) == Authenticator.objects.get().secret()


def test_restarting_the_setup_creates_another_secret(ada: Ada) -> None:
    ada.client.force_login(ada.user)
    ada.posts("start")
    first = Authenticator.objects.get().secret()

    ada.posts("start")

    assert Authenticator.objects.get().secret() != first


def test_a_confirmed_setup_is_not_restarted(ada: Ada) -> None:
    ada.sets_up()
    before = Authenticator.objects.get().secret_token

    ada.posts("start")

    assert Authenticator.objects.get().secret_token == before


# ---- Login.


def test_the_password_alone_opens_nothing(ada: Ada) -> None:
    ada.sets_up()
    ada.client = Client()

    answer = ada.gives_password(to="/admin/password_change/")

    assert answer.redirect_chain[-1][0] == f"{CODE}?next=%2Fadmin%2Fpassword_change%2F"
    assert not ada.is_in()
    for address in ("/admin/", "/admin/usage/", PAGE, IMAGE, "/admin/jsi18n/"):
        assert ada.client.get(address).status_code in (302, 404), address
    assert ada.posts("disable", "000000").status_code == 302
    assert Authenticator.objects.exists()


def test_a_valid_code_redirects_to_the_requested_page_with_a_new_session_id(ada: Ada) -> None:
    ada.sets_up()
    ada.client = Client()
    ada.gives_password()
    half = ada.client.session.session_key
    ada.waits()

    answer = ada.gives_code(ada.code(), next="/admin/password_change/")

    assert answer["Location"] == "/admin/password_change/"
    assert ada.is_in() and ada.client.session.session_key != half


def test_a_code_is_accepted_once(ada: Ada) -> None:
    ada.sets_up()
    ada.waits()
    code = ada.code()
    for expected in (302, 200):
        ada.client = Client()
        ada.gives_password()
        assert ada.gives_code(code).status_code == expected


@pytest.mark.parametrize("off_by, status", [(-60, 200), (-30, 302), (30, 302), (60, 200)])
def test_a_clock_may_be_half_a_minute_off(off_by: int, status: int, ada: Ada) -> None:
    ada.sets_up()
    ada.waits(600)
    ada.client = Client()
    ada.gives_password()
    ada.waits(off_by)
    code = ada.code()
    ada.waits(-off_by)

    assert ada.gives_code(code).status_code == status


@pytest.mark.parametrize(
    "code",
    ["", "12345", "1234567", "abcdef", "\N{FULLWIDTH DIGIT ONE}" * 6, "²²²²²²", "-12345", "0x1234", "\0" * 6, "é" * 10],
)
def test_an_invalid_code_is_rejected(code: str, ada: Ada) -> None:
    ada.sets_up()
    ada.client = Client()
    ada.gives_password()

    assert ada.gives_code(code).status_code == 200
    assert not ada.is_in()


def test_the_code_of_another_user_is_rejected(ada: Ada) -> None:
    ada.sets_up()
    grace = User.objects.create_user("grace", password=PASSWORD, is_staff=True)
    theirs = Authenticator.start(grace)
    Authenticator.objects.filter(pk=theirs.pk).update(confirmed=True)
    ada.client = Client()
    ada.gives_password()
    ada.waits()

    assert ada.gives_code(f"{totp(theirs.secret()):06d}").status_code == 200


def test_codes_can_contain_spaces(ada: Ada) -> None:
    ada.sets_up()
    ada.client = Client()
    ada.gives_password()
    ada.waits()
    code = ada.code()

    assert ada.gives_code(f"{code[:3]} {code[3:]}").status_code == 302


def test_codes_are_throttled_after_invalid_ones(ada: Ada) -> None:
    ada.sets_up()
    ada.waits()
    for seconds in (1, 2, 4):
        ada.client = Client(REMOTE_ADDR=f"192.0.2.{seconds}")
        ada.gives_password()
        ada.gives_code("000000")
        answer = ada.gives_code(ada.code())
        assert answer.status_code == 200 and f"Try again in {seconds} seconds" in answer.text
        ada.waits(seconds + 0.1)


def test_throttling_lasts_five_minutes_at_most(ada: Ada) -> None:
    ada.sets_up()
    Authenticator.objects.update(throttling_failure_count=40, throttling_failure_timestamp=timezone.now())
    ada.client = Client()
    ada.gives_password()

    assert "Try again in 300 seconds" in ada.gives_code(ada.code()).text
    ada.waits(301)
    assert ada.gives_code(ada.code()).status_code == 302


def test_invalid_codes_count_as_failed_passwords(ada: Ada) -> None:
    ada.sets_up()
    ada.client = Client(REMOTE_ADDR="192.0.2.7")
    ada.gives_password()
    statuses = []
    for _ in range(6):
        statuses.append(ada.gives_code("000000").status_code)
        ada.waits(60)
    again = Client(REMOTE_ADDR="192.0.2.7").post(LOGIN, {"username": "ada", "password": PASSWORD})

    assert statuses == [200, 200, 200, 200, 429, 429]
    assert again.status_code == 429 and "Retry-After" in again


def test_a_valid_password_does_not_clear_the_count_of_invalid_codes(ada: Ada) -> None:
    ada.sets_up()
    ada.client = Client(REMOTE_ADDR="192.0.2.7")
    for _ in range(5):
        ada.gives_password()
        answer = ada.gives_code("000000")
        ada.waits(60)

    assert answer.status_code == 429


# ---- Recovery.


def test_a_recovery_code_is_accepted_once(ada: Ada) -> None:
    [code, *_] = ada.sets_up()
    for expected in (302, 200):
        ada.client = Client()
        ada.gives_password()
        assert ada.gives_code(code.upper()).status_code == expected

    assert RecoveryCode.objects.count() == 9


def test_new_recovery_codes_replace_the_old_ones(ada: Ada) -> None:
    old = ada.sets_up()
    ada.waits()
    new = recovery_codes(ada.posts("renew", ada.code()))

    assert len(new) == 10 and not set(old) & set(new)
    ada.client = Client()
    ada.gives_password()
    assert ada.gives_code(old[0]).status_code == 200
    ada.waits()
    assert ada.gives_code(new[0]).status_code == 302


def test_recovery_codes_are_shown_once(ada: Ada) -> None:
    codes = ada.sets_up()

    assert not [code for code in codes if code in ada.client.get(PAGE).text]
    assert "10 recovery codes remaining" in ada.client.get(PAGE).text


@pytest.mark.parametrize("action", ["renew", "disable"])
def test_changes_require_a_valid_code(action: str, ada: Ada) -> None:
    ada.sets_up()
    before = list(RecoveryCode.objects.values_list("pk"))
    ada.waits()

    answer = ada.posts(action, "000000")

    assert "Invalid code" in answer.text
    assert Authenticator.objects.get().confirmed and list(RecoveryCode.objects.values_list("pk")) == before


def test_it_is_disabled_with_a_code(ada: Ada) -> None:
    ada.sets_up()
    ada.waits()

    ada.posts("disable", ada.code())

    assert not Authenticator.objects.exists() and ada.is_in()
    ada.client = Client()
    ada.gives_password()
    assert ada.is_in()


def test_the_command_resets_it(ada: Ada) -> None:
    ada.sets_up()
    said = StringIO()

    call_command("reset_two_factor", "ada", stderr=said)
    call_command("reset_two_factor", "ada", stderr=said)

    assert said.getvalue().splitlines() == [
        "Two-factor authentication of ada is disabled.",
        "ada has not set up two-factor authentication.",
    ]
    ada.client = Client()
    ada.gives_password()
    assert ada.is_in()
    with pytest.raises(CommandError, match="no user named eve"):
        call_command("reset_two_factor", "eve")


def test_a_reset_ends_the_verification_of_existing_sessions(ada: Ada, settings: Any) -> None:
    ada.sets_up()
    settings.ADMIN_TWO_FACTOR = "required"
    assert ada.is_in()

    call_command("reset_two_factor", "ada", stderr=StringIO())

    assert not ada.is_in()


def test_recovery_codes_work_after_the_encryption_keys_are_lost(ada: Ada, settings: Any) -> None:
    [recovery, *_] = ada.sets_up()
    code = ada.code()
    settings.CREDENTIAL_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    ada.client = Client()
    ada.gives_password()

    assert "encryption keys changed" in ada.gives_code(code).text
    assert ada.gives_code(recovery).status_code == 302


def test_rotated_encryption_keys_and_peppers_keep_it_working(ada: Ada, settings: Any) -> None:
    [recovery, *_] = ada.sets_up()
    settings.CREDENTIAL_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.CREDENTIAL_ENCRYPTION_KEYS]
    settings.API_KEY_PEPPERS = ["a new pepper that signs from now on, and is long", *settings.API_KEY_PEPPERS]
    ada.waits()
    for code in (ada.code(), recovery):
        ada.client = Client()
        ada.gives_password()
        assert ada.gives_code(code).status_code == 302


# ---- Stored data.


def test_the_database_and_the_log_contain_no_secret_or_code(ada: Ada, caplog: Any) -> None:
    with caplog.at_level("DEBUG"):
        codes = ada.sets_up()
        ada.waits()
        ada.client = Client()
        ada.gives_password()
        used = ada.code()
        ada.gives_code(used)

    secret = Authenticator.objects.get().secret()
    kept = repr([list(model._base_manager.values_list()) for model in apps.get_models()]) + caplog.text
    encoded = [secret.hex(), b32encode(secret).decode(), repr(secret)]
    for text in [*encoded, used, *codes, *(code.replace("-", "") for code in codes)]:
        assert text not in kept


def test_the_audit_log_records_setup_renewal_and_disabling(ada: Ada) -> None:
    ada.sets_up()
    ada.waits()
    ada.posts("renew", ada.code())
    ada.waits()
    ada.posts("disable", ada.code())

    entries = LogEntry.objects.filter(object_repr="ada").exclude(action=LogEntry.Action.CREATE).order_by("pk")
    assert [(entry.changes, entry.actor) for entry in entries] == [
        ({"two-factor authentication": ["off", "on"]}, ada.user),
        ({"recovery codes": ["set", "set"]}, ada.user),
        ({"two-factor authentication": ["on", "off"]}, ada.user),
    ]
    assert not AdminLogEntry.objects.exists()


def test_the_list_of_users_shows_two_factor_authentication(ada: Ada, browser: Client) -> None:
    ada.sets_up()
    ada.client = Client()
    User.objects.filter(username="root").update(is_staff=True)

    page = browser.get("/admin/auth/user/")

    assert "2FA" in page.text
    assert page.text.count("icon-yes") == 3  # two staff users, one of them with 2FA
