"""Each kind of alert, from its cause to the delivered mail and webhook, and its end."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keys.models import APIKey, HourlyUsage, ModelPrice, Team
from lib.periods import begin_of_hour
from messages_api.alerts import rates
from messages_api.alerts.networks import MAX_NETWORKS, network_of
from messages_api.models import AlertState, CircuitEvent, Incident, KnownNetwork, LedgerOutage, ProcessReport, Upstream
from tests.messages_api.alerts.conftest import START, deliver, evaluate, mails, rule, text_of
from tests.support.receivers import Mailbox, Webhook

Add = Callable[..., None]


def report(identity: str, *, minute: float, is_open: bool = True, spool_files: int = 0) -> None:
    at = START + timedelta(minutes=minute)
    circuit = {"since": at.timestamp(), "reason": "overloaded_error"} if is_open else None
    ProcessReport.objects.update_or_create(
        process="p",
        defaults={
            "reported_at": at,
            "upstreams": {identity: {"circuit": circuit, "limits": {}}},
            "spool_files": spool_files,
        },
    )


def posted(webhook: Webhook) -> list[Any]:
    return [json.loads(body) for _, body in webhook.posts]


def test_an_open_circuit_is_one_incident_with_its_end(
    upstream_row: Upstream, mailbox: Mailbox, webhook: Webhook
) -> None:
    rule("circuit", ends_after_minutes=1)
    report(upstream_row.endpoint().identity, minute=0)
    for minute in (0, 0.3, 0.6, 0.9):
        evaluate(minute)
    deliver()
    report(upstream_row.endpoint().identity, minute=2, is_open=False)
    for minute in (2, 2.5, 3.1, 4):
        evaluate(minute)
    deliver()

    title = "Circuit of upstream alpha is open"
    assert mails(mailbox) == [f"Alert: {title}", f"Ended: {title}"]
    assert [recipients for recipients, _ in mailbox.mails] == [["ops@example.org"]] * 2
    first, last = (text_of(mail) for _, mail in mailbox.mails)
    assert "Last failure: overloaded_error." in first
    assert "https://gateway.example.org/admin/upstreams/#upstream-alpha" in first
    assert "Ended: 2026-11-24 12:02:00 UTC, after 2 min" in last
    begun, ended = posted(webhook)
    assert (begun["type"], begun["data"]["state"], begun["data"]["title"]) == ("incident.opened", "open", title)
    assert (ended["type"], ended["data"]["duration_s"], ended["data"]["rule_kind"]) == (
        "incident.ended",
        120,
        "circuit",
    )
    assert webhook.posts[0][0]["webhook-id"] == f"incident-{begun['data']['incident']}-opened"


def test_a_circuit_that_opened_and_closed_between_evaluations_is_an_incident(
    upstream_row: Upstream, mailbox: Mailbox
) -> None:
    rule("circuit", ends_after_minutes=0)
    evaluate(0)
    for change, second in (("opened", 2), ("half_open", 8), ("closed", 9)):
        at = START + timedelta(seconds=second)
        CircuitEvent.objects.create(upstream="alpha", change=change, reason="api_error", process="p", at=at)
    for minute in (0.25, 0.5, 0.75):
        evaluate(minute)
    deliver()

    assert mails(mailbox) == ["Alert, already over: Circuit of upstream alpha is open"]
    assert "after 7 s" in text_of(mailbox.mails[0][1])


def test_the_circuits_of_other_upstreams_concern_no_rule_of_one(upstream_row: Upstream) -> None:
    other = Upstream.objects.create(name="beta", dialect="openai", base_url="http://127.0.0.1:9/v1")
    rule("circuit", upstream=other)
    report(upstream_row.endpoint().identity, minute=0)

    evaluate(0)

    assert not Incident.objects.exists()


def test_an_error_rate_over_the_threshold_reports_its_peak(record: Add, mailbox: Mailbox, webhook: Webhook) -> None:
    rule("error_rate", threshold=20, min_requests=10, ends_after_minutes=1)
    record(8, minute=-1)
    record(4, minute=-1, status="failed", error_type="api_error")
    record(30, minute=-1, status="failed", error_type="invalid_request_error", upstream="beta")  # of the client
    record(30, minute=-1, status="rejected", upstream="")
    evaluate(0)
    record(8, minute=0.5, status="interrupted")
    evaluate(1)
    evaluate(8)
    evaluate(9.5)
    deliver()

    title = "Error rate of upstream alpha is over 20 %"
    assert mails(mailbox) == [f"Alert: {title}", f"Ended: {title}"]
    assert "33.3 %: 4 of 12 requests of the last 5 minutes failed." in text_of(mailbox.mails[0][1])
    assert "Peak: 60.0 %" in text_of(mailbox.mails[1][1])
    assert [each["data"]["peak"] for each in posted(webhook)] == [pytest.approx(100 / 3), 60.0]


def test_too_few_requests_and_a_rate_at_the_threshold_open_nothing(record: Add) -> None:
    rule("error_rate", threshold=20, min_requests=10)
    record(8, minute=-1)
    record(2, minute=-1, status="failed", error_type="api_error")  # exactly 20 %
    record(9, minute=-1, status="failed", error_type="api_error", upstream="beta")
    record(50, minute=-6, status="failed", error_type="api_error")  # before the window

    evaluate(0)

    assert not Incident.objects.exists()


def test_the_error_rate_of_a_team_is_over_all_its_upstreams(record: Add, api_key: APIKey) -> None:
    team = Team.objects.create(name="crew")
    rule("error_rate", threshold=50, min_requests=4, team=team)
    record(20, minute=-1, status="failed", error_type="api_error")
    for upstream in ("alpha", "beta"):
        record(3, minute=-1, status="failed", error_type="api_error", upstream=upstream, team_id=team.pk)

    evaluate(0)

    (incident,) = Incident.objects.all()
    assert (incident.title, incident.peak) == ("Error rate of team crew is over 50 %", 100.0)


@pytest.mark.parametrize(
    ("kind", "column", "label"),
    [("latency_p95", "duration_ms", "Latency"), ("ttft_p95", "ttft_ms", "Time to first token")],
)
def test_a_latency_is_the_95th_percentile(record: Add, mailbox: Mailbox, kind: str, column: str, label: str) -> None:
    rule(kind, threshold=1000, min_requests=40)
    record(57, minute=-1, **{column: 900})
    record(3, minute=-1, **{column: 5000})  # 5 %: the 95th percentile is 900
    evaluate(0)
    assert not Incident.objects.exists()
    record(1, minute=0, **{column: 2000})
    evaluate(0.5)
    deliver()

    assert mails(mailbox) == [f"Alert: {label} (p95) of upstream alpha is over 1,000 ms"]
    assert "2,000 ms: 4 of 61 requests of the last 5 minutes took longer." in text_of(mailbox.mails[0][1])


def test_a_window_counts_the_newest_requests(record: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_RECORDS", 30)
    rule("error_rate", threshold=10, min_requests=5)
    record(100, minute=-3, status="failed", error_type="api_error")
    record(30, minute=-1)

    evaluate(0)

    assert not Incident.objects.exists()


def test_an_evaluation_costs_the_same_number_of_queries_for_any_number_of_requests(
    record: Add, upstream_row: Upstream, django_assert_max_num_queries: Any
) -> None:
    rule("error_rate", threshold=10, min_requests=5)
    rule("latency_p95", threshold=50, min_requests=5)
    record(300, minute=-1)
    evaluate(0)

    with django_assert_max_num_queries(25):
        evaluate(0.5)


def test_an_unpriced_model_is_an_incident_until_it_has_a_price(record: Add, api_key: APIKey, mailbox: Mailbox) -> None:
    rule("unpriced", ends_after_minutes=0)
    record(1, minute=-1, upstream_model="gpt-9", model="gpt")
    HourlyUsage.objects.create(
        hour=begin_of_hour(START - timedelta(minutes=1)),
        api_key=api_key,
        model="gpt",
        upstream="alpha",
        upstream_model="gpt-9",
        status="completed",
        requests=1,
        unpriced_requests=1,
    )
    evaluate(0)
    ModelPrice.objects.create(
        model_pattern="gpt-9", input_price=1, output_price=1, valid_from=START - timedelta(days=1)
    )
    evaluate(1)
    deliver()

    title = "Model gpt-9 at upstream alpha has no price"
    assert mails(mailbox) == [f"Alert: {title}", f"Ended: {title}"]


def test_a_spooling_ledger_is_an_incident_while_rows_wait(db: None, mailbox: Mailbox) -> None:
    rule("ledger", ends_after_minutes=0)
    report("x@y", minute=0, is_open=False, spool_files=2)
    evaluate(0)
    report("x@y", minute=1, is_open=False)
    evaluate(1)
    deliver()

    assert mails(mailbox) == ["Alert: The ledger spools to disk", "Ended: The ledger spools to disk"]
    assert "2 files with rows." in text_of(mailbox.mails[0][1])


def test_an_outage_of_the_database_is_one_alert_after_it(db: None, mailbox: Mailbox) -> None:
    """Without the database no alert can be queued: it is sent when it is over, with its duration."""
    rule("ledger", ends_after_minutes=0)
    evaluate(0)
    for process in "ab":
        LedgerOutage.objects.create(
            process=process, began_at=START + timedelta(minutes=1), ended_at=START + timedelta(minutes=6)
        )
    evaluate(7)
    evaluate(8)
    deliver()

    assert mails(mailbox) == ["Alert, already over: The ledger spools to disk"]
    assert "after 5 min" in text_of(mailbox.mails[0][1])


# ---- New networks.


def test_a_key_from_a_new_network_is_reported_once(record: Add, api_key: APIKey, mailbox: Mailbox) -> None:
    rule("new_network")
    record(1, minute=-90, client_ip="192.0.2.7")
    record(1, minute=-80, client_ip="203.0.113.7")  # learned: before the rule
    evaluate(0)
    record(1, minute=0.2, client_ip="192.0.2.99")
    record(2, minute=0.3, client_ip="198.51.100.4")
    for minute in (0.5, 1, 2, 7, 9):
        evaluate(minute)
    record(1, minute=10, client_ip="198.51.100.200")
    evaluate(11)
    deliver()

    assert mails(mailbox) == [f"Alert: Key app ({api_key.public_id}) was used from a new network, 198.51.100.0/24"]
    assert "/admin/keys/usagerecord/req_" in text_of(mailbox.mails[0][1])
    assert sorted(KnownNetwork.objects.values_list("network", flat=True)) == [
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
    ]


def test_more_networks_of_the_same_key_are_counted(record: Add, api_key: APIKey, mailbox: Mailbox) -> None:
    rule("new_network")
    record(1, minute=-5, client_ip="192.0.2.7")
    evaluate(0)
    for i in range(9):
        record(1, minute=0.1 * i + 0.1, client_ip=f"2001:db8:0:{i}::1")
    for minute in (0.5, 1.5, 3, 8, 9):
        evaluate(minute)
    deliver()

    assert [mail.partition(":")[0] for mail in mails(mailbox)] == ["Alert", "Ended"]
    assert "Occurrences: 9" in text_of(mailbox.mails[1][1])
    assert "2001:db8:0:8::/64" in text_of(mailbox.mails[1][1])


def test_the_first_network_of_a_key_is_learned(record: Add) -> None:
    rule("new_network")
    evaluate(0)
    record(1, minute=1, client_ip="192.0.2.7")
    evaluate(2)

    assert KnownNetwork.objects.count() == 1 and not Incident.objects.exists()


def test_the_networks_of_other_teams_concern_no_rule_of_one(record: Add) -> None:
    rule("new_network", team=Team.objects.create(name="crew"))
    record(1, minute=-5, client_ip="192.0.2.7")
    evaluate(0)
    record(1, minute=1, client_ip="198.51.100.7")
    evaluate(2)

    assert not Incident.objects.exists()


def test_records_that_are_written_late_are_read(record: Add) -> None:
    rule("new_network")
    record(1, minute=-5, client_ip="192.0.2.7")
    evaluate(0)
    evaluate(1)
    record(1, minute=0.5, client_ip="198.51.100.7")  # committed after the evaluation
    evaluate(1.5)

    assert Incident.objects.count() == 1


def test_without_a_rule_no_network_is_learned(record: Add) -> None:
    disabled = rule("new_network")
    record(1, minute=-5, client_ip="192.0.2.7")
    evaluate(0)
    disabled.enabled = False
    disabled.save()
    rule("ledger")
    record(1, minute=1, client_ip="198.51.100.7")
    evaluate(2)

    assert KnownNetwork.objects.count() == 1 and AlertState.objects.get().networks_until is None


def test_a_key_that_is_used_from_everywhere_has_bounded_networks(record: Add, api_key: APIKey) -> None:
    rule("new_network")
    seen = {"first_seen_at": START, "last_seen_at": START}
    KnownNetwork.objects.bulk_create(
        KnownNetwork(api_key=api_key, network=f"10.{i // 256}.{i % 256}.0/24", **seen) for i in range(MAX_NETWORKS)
    )
    evaluate(0)
    record(1, minute=1, client_ip="198.51.100.7")
    evaluate(2)

    assert KnownNetwork.objects.count() == MAX_NETWORKS and not Incident.objects.exists()


@pytest.mark.parametrize(
    ("client_ip", "network"),
    [
        ("192.0.2.200", "192.0.2.0/24"),
        ("::ffff:192.0.2.200", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ],
)
def test_a_network_is_a_24_or_a_64(client_ip: str, network: str) -> None:
    assert network_of(client_ip) == network
