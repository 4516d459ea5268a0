"""Conditions of the ledger: settlements that are spooled on disk, and outages that are over."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Max, Min
from django.urls import reverse

from messages_api.alerts.condition import AlertCondition
from messages_api.models import AlertRule, LedgerOutage
from messages_api.upstream_status import process_reports

TITLE = "The ledger spools to disk"
DETAIL = "The database was unavailable: new requests are rejected, and settlements wait on disk until it recovers."


def conditions(rules: list[AlertRule], *, since: datetime) -> Iterator[tuple[AlertRule, AlertCondition]]:
    """Yield the spooling that any process reports; otherwise an outage that ended since the last evaluation."""
    path = reverse("admin:index")
    over = LedgerOutage.objects.filter(ended_at__gt=since).aggregate(began=Min("began_at"), ended=Max("ended_at"))
    files = max((report.spool_files for report in process_reports.live_reports()), default=0)
    if files:
        detail = f"{DETAIL} {files} file{'' if files == 1 else 's'} with rows."
        condition = AlertCondition(subject="ledger", title=TITLE, detail=detail, path=path, began_at=over["began"])
    elif over["began"]:
        condition = AlertCondition(
            subject="ledger",
            title=TITLE,
            detail=DETAIL,
            path=path,
            began_at=over["began"],
            ended_at=over["ended"],
        )
    else:
        return
    yield from ((rule, condition) for rule in rules)
