"""Upstreams and routes in the admin; the credential is write-only."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from messages_api.models import ModelCatalog, Route, RouteTarget, Upstream

LIST = "/admin/messages_api/upstream/"
CREDENTIAL = "sk-canary-0123456789"
FIELDS: dict[str, Any] = {
    "name": "local",
    "dialect": "openai",
    "base_url": "http://127.0.0.1:8081/v1",
    "enabled": "on",
    "connect_timeout_s": "5",
    "first_byte_timeout_s": "120",
    "profile_preset": "portable",
    "profile_overrides": "{}",
    "initial-profile_overrides": "{}",
    "model_names": "",
    "idle_timeout_s": "90",
    "request_timeout_s": "600",
    "continue_after_disconnect_s": "0",
    "credential": "",
}


def page_of(upstream: Upstream) -> str:
    return reverse("admin:messages_api_upstream_change", args=[upstream.pk])


def credential() -> str:
    return Upstream.objects.get().endpoint().credential


@pytest.fixture
def stored(browser: Client) -> Upstream:
    browser.post(f"{LIST}add/", FIELDS | {"credential": CREDENTIAL})
    return Upstream.objects.get()


def test_a_credential_is_stored_encrypted_and_shown_nowhere(browser: Client, stored: Upstream) -> None:
    assert credential() == CREDENTIAL

    tables = repr([list(model._base_manager.values_list()) for model in apps.get_models()])
    pages = "".join(browser.get(address).text for address in (LIST, page_of(stored), f"{page_of(stored)[:-7]}test/"))
    assert CREDENTIAL not in tables + pages
    assert stored.credential_ciphertext not in pages
    assert "Set since" in pages


def test_models_are_named_one_per_line(browser: Client, stored: Upstream) -> None:
    browser.post(page_of(stored), FIELDS | {"model_names": "model-a\r\n\r\nmodel-b\r\nmodel-a"})

    assert Upstream.objects.get().model_names == ["model-a", "model-b"]


@pytest.mark.parametrize("names", ["model-*", "two words", "m" * 257, "\n".join(map(str, range(201)))])
def test_invalid_model_names_are_rejected(browser: Client, stored: Upstream, names: str) -> None:
    browser.post(page_of(stored), FIELDS | {"model_names": names})

    assert Upstream.objects.get().model_names == []


def test_the_page_says_what_the_upstream_lists(browser: Client, stored: Upstream) -> None:
    assert "Not read yet." in browser.get(page_of(stored)).text
    ModelCatalog.objects.create(
        upstream=stored,
        base_url=stored.base_url,
        entries=[{"id": "model-a"}],
        listed_at=timezone.now(),
        due_at=timezone.now(),
        error="The upstream responded with HTTP 503.",
    )

    page = browser.get(page_of(stored)).text

    assert "1 model, read " in page and "Last error: The upstream responded with HTTP 503." in page


def test_an_empty_field_keeps_the_credential(browser: Client, stored: Upstream) -> None:
    browser.post(page_of(stored), FIELDS | {"name": "renamed"})

    assert Upstream.objects.get().name == "renamed" and credential() == CREDENTIAL


def test_a_new_credential_replaces_the_old_one(browser: Client, stored: Upstream) -> None:
    browser.post(page_of(stored), FIELDS | {"credential": "sk-new"})

    assert credential() == "sk-new"


def test_a_credential_is_cleared_on_demand(browser: Client, stored: Upstream) -> None:
    browser.post(page_of(stored), FIELDS | {"clear_credential": "on"})

    assert credential() == "" and Upstream.objects.get().credential_set_at is None


def test_a_new_base_url_clears_the_credential_and_the_page_says_so(browser: Client, stored: Upstream) -> None:
    assert "Changing the base URL clears it" in browser.get(page_of(stored)).text

    answer = browser.post(page_of(stored), FIELDS | {"base_url": "http://127.0.0.1:9999/v1"}, follow=True)

    assert credential() == "" and not Upstream.objects.get().credential_ciphertext
    assert "the stored credential was cleared" in answer.text


def test_a_new_base_url_with_a_new_credential_keeps_it(browser: Client, stored: Upstream) -> None:
    browser.post(page_of(stored), FIELDS | {"base_url": "http://127.0.0.1:9999/v1", "credential": "sk-new"})

    assert credential() == "sk-new"


@pytest.mark.parametrize(
    "wrong, field",
    [
        ({"base_url": "http://169.254.169.254/v1"}, "base_url"),
        ({"base_url": "ftp://host"}, "base_url"),
        ({"credential": "two words"}, "credential"),
        ({"credential": "caf\N{LATIN SMALL LETTER E WITH ACUTE}"}, "credential"),
        ({"credential": "sk-x", "clear_credential": "on"}, "clear_credential"),
        ({"request_timeout_s": "0"}, "request_timeout_s"),
        ({"name": "no spaces please"}, "name"),
    ],
)
def test_invalid_input_is_not_saved(wrong: dict[str, str], field: str, browser: Client, stored: Upstream) -> None:
    answer = browser.post(page_of(stored), FIELDS | wrong)

    assert list(answer.context["adminform"].form.errors) == [field]
    assert credential() == CREDENTIAL
    assert wrong.get("credential", "x" * 9) not in answer.text


def test_the_connection_test_sends_a_real_request(browser: Client, upstream: Any) -> None:
    server = Upstream(name="scripted", dialect="openai", base_url=f"{upstream.url}/v1")
    server.set_credential(CREDENTIAL)
    server.save()
    route = Route.objects.create(pattern="*")
    RouteTarget.objects.create(route=route, upstream=server, model="small")
    address = reverse("admin:messages_api_upstream_test", args=[server.pk])

    asked = browser.get(address)
    assert asked.context["form"].initial["model"] == "small" and not upstream.requests
    answer = browser.post(address, {"model": "small"})

    assert answer.context["result"].ok and "Connected" in answer.text
    assert len(upstream.requests) == 1
    assert CREDENTIAL not in answer.text


def test_a_failed_connection_is_reported_and_not_an_error_of_the_gateway(browser: Client, stored: Upstream) -> None:
    Upstream.objects.update(base_url="http://127.0.0.1:9/v1")

    answer = browser.post(reverse("admin:messages_api_upstream_test", args=[stored.pk]), {"model": "small"})

    assert answer.status_code == 200
    assert "Connection failed" in answer.text and "no response" in answer.text


def test_the_test_of_what_is_not_there_is_a_404(browser: Client) -> None:
    assert browser.get(f"{LIST}77/test/").status_code == 404


def test_testing_needs_the_permission_to_change(browser_of: Callable[..., Client], stored: Upstream) -> None:
    looker = browser_of("view_upstream")

    page = looker.get(page_of(stored))

    assert page.status_code == 200 and CREDENTIAL not in page.text and stored.credential_ciphertext not in page.text
    assert looker.get(reverse("admin:messages_api_upstream_test", args=[stored.pk])).status_code == 403
    assert looker.post(page_of(stored), FIELDS | {"credential": "sk-new"}).status_code == 403
    assert credential() == CREDENTIAL


def test_a_route_is_made_with_its_targets(browser: Client, stored: Upstream) -> None:
    targets = {"targets-TOTAL_FORMS": "1", "targets-INITIAL_FORMS": "0", "targets-MIN_NUM_FORMS": "1"}
    target = {"targets-0-upstream": stored.pk, "targets-0-model": "small", "targets-0-priority": "0"}

    answer = browser.post(
        "/admin/messages_api/route/add/", {"pattern": "claude-*", **targets, **target, "targets-0-weight": "1"}
    )

    assert answer.status_code == 302
    assert str(Route.objects.get().targets.get()) == "local small"
    assert "local small" in browser.get("/admin/messages_api/route/").text


def test_lists_take_a_constant_number_of_queries(
    browser: Client, stored: Upstream, django_assert_num_queries: Any
) -> None:
    for i in range(5):
        route = Route.objects.create(pattern=f"model-{i}")
        RouteTarget.objects.create(route=route, upstream=stored)

    with django_assert_num_queries(6):  # session, user, one count, routes, targets, upstreams
        browser.get("/admin/messages_api/route/")
    with django_assert_num_queries(4):  # session, user, one count, upstreams
        browser.get(LIST)


def test_changes_are_logged_by_name_and_never_by_value(browser: Client, stored: Upstream) -> None:
    browser.post(page_of(stored), FIELDS | {"credential": "sk-new"})

    history = browser.get(f"{page_of(stored)[:-7]}history/").text
    assert "Changed credential." in history.replace("Credential", "credential") and "sk-new" not in history
