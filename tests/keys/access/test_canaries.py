"""Canary test: a hundred keys are issued and used, then tables, pages and logs are searched for their secrets."""

import base64
import html
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection

from keys.domain import raw_key
from keys.models import APIKey, KeySecret, Notification, Team, UsageRecord
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.upstream import ScriptedUpstream, failure, replied

KEYS = 100
PATH = "/api/v1/messages"
PASSWORD = "a good password of root"
UPSTREAM_CREDENTIAL = "the-upstream-credential"
REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 12, "messages": [{"role": "user", "content": "Hi"}]}
LISTS = ["", "usage/", "usage.csv", "keys/apikey/", "keys/usagerecord/?time=all", "messages_api/upstream/"]


class AdminSession:
    """A session in the admin of the running gateway that keeps every page."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._session = requests.Session()
        self._session.trust_env = False
        self.pages: dict[str, bytes] = {}
        self.post("/admin/login/", {"username": "root", "password": PASSWORD, "next": "/admin/"})

    def get(self, path: str) -> str:
        response = self._session.get(self._origin + path, timeout=60)
        assert response.status_code in (200, 403), f"{path}: {response.status_code}"
        self.pages[response.url] = response.content + repr(response.headers).encode()
        return response.text

    def post(self, path: str, form: dict[str, str], *, keep: bool = True) -> str:
        """Submit a form. Keep the response unless it shows a raw key."""
        if not self._session.cookies.get("csrftoken"):
            self.get(path)
        token = self._session.cookies["csrftoken"]
        response = self._session.post(self._origin + path, form | {"csrfmiddlewaretoken": token}, timeout=60)
        assert response.ok, f"{path}: {response.status_code}"
        if keep:
            self.pages[f"POST {path}"] = response.content + repr(response.headers).encode()
        return response.text

    def issue(self, form: dict[str, str]) -> str:
        """Issue a key and return the raw key that the response shows."""
        return _raw_key_in(self.post("/admin/keys/apikey/add/", form | _expiring(), keep=False))

    def rotate(self, api_key: APIKey) -> str:
        form = {"overlap": "24h", "token": secrets.token_urlsafe()}
        return _raw_key_in(self.post(f"/admin/keys/apikey/{api_key.pk}/rotate/", form, keep=False))


def _expiring() -> dict[str, str]:
    return {"expires": "90", "token": secrets.token_urlsafe()}


def _raw_key_in(page: str) -> str:
    found = re.search(r'value="(mgw_[0-9A-Za-z]{46})" readonly', page)
    assert found, page
    return html.unescape(found[1])


@pytest.fixture
def gateway(transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User) -> Iterator[Gateway]:
    """A gateway with log level DEBUG."""
    with GatewayServer(LOG_LEVEL="DEBUG") as server:
        yield Gateway(server, upstream, owner)


@pytest.mark.timeout(400)
def test_no_secret_is_stored_logged_or_shown(gateway: Gateway) -> None:
    root = User.objects.create_superuser("root", email="root@example.com", password=PASSWORD)
    team = Team.objects.create(name="Search", email="search@example.com")
    session = AdminSession(gateway.url)

    raws = [session.issue(_form(number, root=root, team=team)) for number in range(KEYS)]
    raws += [session.rotate(api_key) for api_key in APIKey.objects.order_by("pk")[1:11]]
    _use(gateway, raws)
    _visit_pages(session, raws)

    assert len(set(raws)) == KEYS + 10 and Notification.objects.exists()
    haystacks = _haystacks(gateway, session)
    needles = _needles([*raws, gateway.raw_key])
    found = [(where, what) for where, hay in haystacks.items() for what, needle in needles if needle in hay]
    assert found == []


def _form(number: int, *, root: User, team: Team) -> dict[str, str]:
    """Return the form for a key of a user or a team, with a budget that is soon exhausted or without."""
    rows = {"budgets-TOTAL_FORMS": "1", "budgets-INITIAL_FORMS": "0", "budgets-0-amount": "1000"}
    budget = rows | {"budgets-0-unit": "tokens", "budgets-0-period": "day", "budgets-0-alert_threshold_percent": "1"}
    owner_choice = f"team-{team.pk}" if number % 2 else f"user-{root.pk}"
    form = {"name": f"app {number}", "purpose": "a canary", "owner_choice": owner_choice}
    return form | (budget if number % 4 == 0 else {})


def _use(gateway: Gateway, raws: list[str]) -> None:
    """Send requests that succeed, fail in several ways, or present a malformed key."""
    gateway.upstream.queue(failure(401, f"Invalid key: {UPSTREAM_CREDENTIAL}"), times=2)
    gateway.upstream.queue(failure(400, f"What is this? Bearer {UPSTREAM_CREDENTIAL}"), times=2)
    gateway.upstream.queue(replied(), times=None)
    for i, raw in enumerate(raws[::4]):
        path = PATH if i % 2 else "/api/anthropic/v1/messages"
        headers = {"Authorization": f"Bearer {raw}"} if i % 3 else {"x-api-key": raw}
        gateway.post(path, REQUEST | {"stream": bool(i % 2)}, headers=headers)
        gateway.post(path, REQUEST | {"max_tokens": 10**6}, headers=headers)
        gateway.post(path, b"{", headers=headers)
    for malformed in (raws[0][:-1] + "x", raws[0] + "x", raws[0].lower(), f"{raws[0]}, {raws[1]}", raws[0][:30]):
        gateway.post(PATH, REQUEST, headers={"Authorization": f"Bearer {malformed}"})
    gateway.request("GET", f"/api/anthropic/v1/models?x-api-key={raws[2]}", headers={"x-api-key": raws[2]})
    gateway.request("GET", "/api/anthropic/v1/models", headers={"Authorization": f"Basic {raws[3]}"})
    wait_until(lambda: not UsageRecord.objects.filter(status="started").exists())


def _visit_pages(session: AdminSession, raws: list[str]) -> None:
    """Visit every kind of page, and search for keys by raw key and by name."""
    session.get(f"/admin/keys/apikey/?q={raws[5]}")
    session.post("/admin/keys/apikey/find/", {"raw_key": raws[6]})
    session.post(
        "/admin/keys/apikey/add/", {"name": raws[7], "purpose": raws[7], "metadata": f"a={raws[7]}"}, keep=False
    )
    first, *others = APIKey.objects.filter(name__startswith="app").order_by("pk")[:12]
    revoking = {"reason": "compromised", "note": "a canary", "typed_name": first.name}
    session.post(f"/admin/keys/apikey/{first.pk}/revoke/", revoking)
    for api_key in others:
        for page in ("change", "history", "rotate", "disable", "revoke"):
            session.get(f"/admin/keys/apikey/{api_key.pk}/{page}/")
    for record in UsageRecord.objects.all()[:10]:
        session.get(f"/admin/keys/usagerecord/{record.pk.replace('_', '_5F')}/change/")
    for path in LISTS:
        session.get(f"/admin/{path}")


# ---- what is searched, and for which texts


def _haystacks(gateway: Gateway, session: AdminSession) -> dict[str, bytes]:
    log = gateway.server.log_path.read_bytes()
    sessions = repr([session.get_decoded() for session in Session.objects.all()]).encode()
    assert (
        b" completed reason=" in log and b"_auth_user_id" in sessions and b"app 99" in b"".join(session.pages.values())
    )
    tables = {f"table {name}": _dump(name) for name in connection.introspection.table_names()}
    assert b"app 99" in tables["table keys_apikey"] and b"app 99" in tables["table django_admin_log"]
    return tables | session.pages | {"log": log, "sessions": sessions}


def _dump(table: str) -> bytes:
    """Return all rows of a table, bytes also in hexadecimal, without the one column that may hold digests."""
    with connection.cursor() as cursor:
        columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
        kept = [f'"{name}"' for name in columns if (table, name) != (KeySecret._meta.db_table, "digest")]
        cursor.execute(f'SELECT {", ".join(kept)} FROM "{table}"')
        return b"\n".join(_bytes(value) for row in cursor.fetchall() for value in row)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | memoryview):
        return bytes(value) + bytes(value).hex().encode()
    return str(value).encode()


def _needles(raws: list[str]) -> list[tuple[str, bytes]]:
    needles: list[tuple[str, bytes]] = [("the upstream's credential", UPSTREAM_CREDENTIAL.encode())]
    needles += [("SECRET_KEY", settings.SECRET_KEY.encode())]
    needles += [("a pepper", pepper.encode()) for pepper in settings.API_KEY_PEPPERS]
    needles += [("a credential key", key.encode()) for key in settings.CREDENTIAL_ENCRYPTION_KEYS]
    for raw in raws:
        needles += [("a raw key", raw[10:].encode())]  # without the hint, which is shown
        for pepper in settings.API_KEY_PEPPERS:
            digest = raw_key.digest(raw, pepper=pepper)
            needles += [("a digest", digest), ("a digest in hexadecimal", digest.hex().encode())]
            needles += [("a digest in hexadecimal", digest.hex().upper().encode())]
            needles += [("a digest in base64", base64.b64encode(digest).rstrip(b"="))]
            needles += [("a digest in base64", base64.urlsafe_b64encode(digest).rstrip(b"="))]
    return needles
