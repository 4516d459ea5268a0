"""Page of the health of upstreams, admin of alert rules, incidents on the overview."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from keys.models import Notification
from messages_api.models import (
    AlertRule,
    CircuitEvent,
    Incident,
    ProcessReport,
    Route,
    RouteTarget,
    Upstream,
)
from tests.support.usage_rows import UsageRecorder

PAGE = "/admin/upstreams/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def alpha(db: None) -> Upstream:
    return Upstream.objects.create(name="alpha", dialect="openai", base_url="http://127.0.0.1:9/v1")


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.mark.parametrize("name", ["1h", "24h", "7d"])
def test_the_figures_of_an_upstream_are_those_of_its_targets(
    browser: Client, alpha: Upstream, recorder: UsageRecorder, name: str
) -> None:
    for model, duration in (("fast", 100), ("slow", 4000)):
        for _ in range(3):
            recorder.record(upstream="alpha", upstream_model=model, duration_ms=duration, ttft_ms=50)
    recorder.record(upstream="alpha", upstream_model="slow", status="failed", error_type="overloaded_error")
    recorder.record(upstream="gone", upstream_model="slow")
    recorder.record(upstream="", status="rejected")

    response = browser.get(PAGE, {"range": name})

    first, gone = response.context["overview"].upstreams
    assert (first.name, first.total.figures.totals.requests, first.total.error_rate) == ("alpha", 7, "14.3 %")
    assert [(row.name, row.figures.totals.requests) for row in first.targets] == [("slow", 4), ("fast", 3)]
    assert [(each.type, each.requests) for each in first.errors] == [("overloaded_error", 1)]
    assert (gone.name, gone.health.label) == ("gone", "Deleted")
    assert 3800 <= first.total.figures.duration.percentile(95) <= 4200
    assert first.total.ttft == "48 ms / 48 ms"  # of 50 ms, within 5 %
    for url, count in ((first.total.records_url, 7), (first.errors[0].url, 1), (first.targets[1].records_url, 3)):
        followed = browser.get(url)
        assert followed.status_code == 200
        assert followed.context["cl"].result_count == count


def test_the_circuit_its_history_and_the_limits_of_the_provider_are_shown(browser: Client, alpha: Upstream) -> None:
    now = time.time()
    upstreams = {
        alpha.endpoint().identity: {
            "circuit": {"since": now - 90, "reason": "overloaded_error"},
            "limits": {"anthropic-ratelimit-requests-remaining": ["41", now - 3]},
        }
    }
    for process in ("one", "two"):
        ProcessReport.objects.create(process=process, reported_at=timezone.now(), upstreams=upstreams)
    CircuitEvent.objects.create(
        upstream="alpha", change="opened", reason="overloaded_error", process="one", at=timezone.now()
    )

    page = browser.get(PAGE).content.decode()

    text = text_of(page)
    assert "Circuit open" in text and "overloaded_error since" in text and "in 2 processes" in text
    assert "Opened overloaded_error one" in text
    assert "anthropic-ratelimit-requests-remaining 41" in text


def test_configured_targets_without_requests_are_listed(browser: Client, alpha: Upstream) -> None:
    RouteTarget.objects.create(route=Route.objects.create(pattern="*"), upstream=alpha, model="small")

    (status,) = browser.get(PAGE).context["overview"].upstreams

    assert [(row.name, row.figures.totals.requests) for row in status.targets] == [("small", 0)]


@pytest.mark.parametrize("value", ["", "9y", "1h' OR 1", HOSTILE, "\0", "x" * 5000])
def test_an_unknown_range_is_left_out_in_words(browser: Client, alpha: Upstream, value: str) -> None:
    response = browser.get(PAGE, {"range": value})

    assert response.status_code == 200 and response.context["overview"].range == "24h"
    assert "Unknown range" in response.content.decode() and HOSTILE not in response.content.decode()


def test_the_number_of_queries_does_not_depend_on_the_number_of_upstreams(
    browser: Client, alpha: Upstream, recorder: UsageRecorder, django_assert_max_num_queries: Any
) -> None:
    for i in range(12):
        Upstream.objects.create(name=f"u{i}", dialect="openai", base_url="http://127.0.0.1:9/v1")
        recorder.record(upstream=f"u{i}", upstream_model=f"m{i}")

    with django_assert_max_num_queries(26):
        browser.get(PAGE)


def test_hostile_texts_are_inert(browser: Client, alpha: Upstream, recorder: UsageRecorder) -> None:
    recorder.record(upstream="alpha", upstream_model=HOSTILE, status="failed", error_type=HOSTILE)
    recorder.record(upstream=f"{HOSTILE}\"'", upstream_model="m")
    limits = {HOSTILE: [HOSTILE, time.time()]}
    circuit = {"since": time.time(), "reason": HOSTILE}
    upstreams = {alpha.endpoint().identity: {"circuit": circuit, "limits": limits}}
    ProcessReport.objects.create(process=HOSTILE, reported_at=timezone.now(), upstreams=upstreams)
    CircuitEvent.objects.create(upstream="alpha", change="opened", reason=HOSTILE, process="p", at=timezone.now())
    incident = Incident.objects.create(
        rule_name=HOSTILE,
        kind="circuit",
        subject="s",
        title=HOSTILE,
        detail=HOSTILE,
        path="/admin/",
        began_at=timezone.now(),
    )

    pages = [PAGE, "/admin/", "/admin/messages_api/incident/"]
    pages.append(reverse("admin:messages_api_incident_change", args=[incident.pk]))
    for page in pages:
        html = browser.get(page).content.decode()
        assert HOSTILE not in html and "&lt;script&gt;alert(1)" in html, page


# ---- Alert rules.

RULE = {"name": "r", "kind": "error_rate", "threshold": "5", "window_minutes": "5", "min_requests": "20"}
RULE |= {"ends_after_minutes": "5", "recipients": "", "enabled": "on"}


def errors_of(browser: Client, **changes: str) -> dict[str, Any]:
    response = browser.post(reverse("admin:messages_api_alertrule_add"), RULE | changes)
    return {} if response.status_code == 302 else dict(response.context["adminform"].form.errors)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"threshold": ""}, "threshold"),
        ({"threshold": "-1"}, "threshold"),
        ({"threshold": "100"}, "threshold"),
        ({"threshold": "NaN"}, "threshold"),
        ({"kind": "circuit"}, "threshold"),
        ({"kind": "nonsense"}, "kind"),
        ({"min_requests": "0"}, "min_requests"),
        ({"quiet_from": "22:00"}, "quiet_until"),
        ({"quiet_from": "22:00", "quiet_until": "22:00"}, "quiet_until"),
        ({"quiet_from": "25:00"}, "quiet_from"),
        ({"recipients": "ops"}, "recipients"),
        ({"recipients": "a@example.org\nb\r@x"}, "recipients"),
        ({"recipients": "\n".join(f"{i}@example.org" for i in range(21))}, "recipients"),
    ],
)
def test_an_invalid_rule_names_the_field(browser: Client, changes: dict[str, str], field: str) -> None:
    assert list(errors_of(browser, **changes)) == [field]


def test_a_scope_that_a_kind_cannot_have_is_rejected(browser: Client, alpha: Upstream) -> None:
    assert list(errors_of(browser, kind="ledger", threshold="", upstream=str(alpha.pk))) == ["upstream"]
    assert errors_of(browser, kind="circuit", threshold="", upstream=str(alpha.pk)) == {}
    assert str(AlertRule.objects.get().upstream) == "alpha"


def test_the_test_alert_goes_to_the_receivers_of_the_rule(browser: Client, settings: Any) -> None:
    settings.ALERT_EMAILS, settings.ALERT_WEBHOOK_URL = [], ""
    assert errors_of(browser, recipients="a@example.org", quiet_from="00:00", quiet_until="23:59") == {}
    rule = AlertRule.objects.get()

    page = browser.post(reverse("admin:messages_api_alertrule_test", args=[rule.pk]), follow=True)

    assert "The test alert is sent within a few seconds." in page.content.decode()
    sent = Notification.objects.get()
    assert (sent.recipients, sent.kind, sent.subject) == (["a@example.org"], "alert_test", "Test alert of rule r")


def test_a_rule_without_receivers_warns(browser: Client, settings: Any) -> None:
    settings.ALERT_EMAILS, settings.ALERT_WEBHOOK_URL = [], ""
    page = browser.post(reverse("admin:messages_api_alertrule_add"), RULE, follow=True).content.decode()
    assert "No recipient or webhook receives" in page
    rule = AlertRule.objects.get()

    page = browser.post(reverse("admin:messages_api_alertrule_test", args=[rule.pk]), follow=True).content.decode()

    assert "No recipient or webhook receives" in page and not Notification.objects.exists()


def test_the_list_of_rules_counts_their_open_incidents(browser: Client) -> None:
    rule = AlertRule.objects.create(name="r", kind="circuit")
    for i in range(2):
        Incident.objects.create(
            rule=rule, rule_name="r", kind="circuit", subject=f"{i}", title=f"t{i}", began_at=timezone.now()
        )

    page = browser.get("/admin/messages_api/alertrule/").content.decode()

    (link,) = re.findall(r'href="(/admin/messages_api/incident/\?[^"]+)">2<', page)
    assert browser.get(link.replace("&amp;", "&")).context["cl"].result_count == 2


# ---- The overview.


def test_open_incidents_need_attention(browser_of: Callable[..., Client], db: None) -> None:
    values = {"rule_name": "night", "kind": "circuit", "subject": "s", "began_at": timezone.now() - timedelta(hours=2)}
    Incident.objects.create(title="Circuit of upstream alpha is open", **values)
    Incident.objects.create(title="Old", ended_at=timezone.now(), **values)

    page = text_of(browser_of("view_incident").get("/admin/").content.decode())

    assert "Circuit of upstream alpha is open" in page and "Incident of rule night, for 2 h" in page
    assert "Old" not in page
