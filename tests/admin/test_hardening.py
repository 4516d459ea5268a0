"""Every page of the admin is closed to strangers, to forged forms, and to whatever is not from here."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from keys.models import APIKey

Issue = Callable[..., tuple[APIKey, str]]
PAGES = [
    "/admin/",
    "/admin/usage/",
    "/admin/usage.csv",
    "/admin/keys/apikey/",
    "/admin/keys/apikey/add/",
    "/admin/keys/apikey/find/",
    "/admin/keys/usagerecord/",
    "/admin/messages_api/upstream/",
    "/admin/messages_api/upstream/1/test/",
    "/admin/messages_api/route/",
]
FORMS = {
    "/admin/keys/apikey/add/": {"name": "forged"},
    "/admin/keys/apikey/find/": {"raw_key": "mgw_forged"},
    "/admin/keys/apikey/": {"action": "revoke_selected", "_selected_action": "1", "confirmed": "yes", "reason": "x"},
    "/admin/messages_api/upstream/add/": {"name": "forged"},
    "/admin/messages_api/upstream/1/test/": {"model": "forged"},
}


@pytest.mark.parametrize("address", PAGES)
def test_a_stranger_is_sent_to_the_login(address: str, client: Client, db: None) -> None:
    answer = client.get(address)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("address", PAGES[1:])
def test_staff_without_a_permission_is_refused(address: str, browser_of: Callable[..., Client]) -> None:
    assert browser_of().get(address).status_code in (403, 404)


@pytest.mark.parametrize("address", FORMS)
def test_a_form_from_elsewhere_is_refused(address: str, admin: User, issue: Issue) -> None:
    issue()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(admin)

    answer = browser.post(address, FORMS[address])

    assert answer.status_code == 403
    assert APIKey.objects.get().state == "usable"


@pytest.mark.parametrize("address", [page for page in PAGES if not page.endswith(("find/", "test/"))])
def test_headers_of_pages(address: str, browser: Client, settings: Any) -> None:
    answer = browser.get(address)

    assert answer.status_code == 200
    assert answer["Content-Security-Policy"] == settings.CONTENT_SECURITY_POLICY
    assert "unsafe" not in settings.CONTENT_SECURITY_POLICY and "default-src 'none'" in settings.CONTENT_SECURITY_POLICY
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert "private" in answer["Cache-Control"]
