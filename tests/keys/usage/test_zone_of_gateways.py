"""Gateways that are restarted with another reporting time zone, on real processes."""

import os
import signal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Sum

from keys.models import Budget, BudgetPeriod, HourlyUsage, ReportingZone
from keys.usage import reporting_zone
from tests.support.charged_requests import mismatches
from tests.support.gateway import Gateway, GatewayServer, wait_until
from tests.upstream import Reply, ScriptedUpstream, replied

# A running gateway confirms its zone, so that no other one can change it.
pytestmark = pytest.mark.usefixtures("without_gateway")

PATH = "/api/v1/messages"
REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 12, "messages": [{"role": "user", "content": "Hi"}]}


def test_a_restart_with_another_time_zone_keeps_budgets_and_reports(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    first = GatewayServer(REPORTING_TIME_ZONE="UTC")
    gateway = Gateway(first, upstream, owner)
    upstream.queue(replied(Reply(usage=(20, 12))), times=None)
    budgets = [
        Budget.objects.create(api_key=gateway.key, period=period, unit="tokens", amount=10**6)
        for period in ("day", "week", "month", "total")
    ]
    with first:
        for _ in range(3):
            assert gateway.post(PATH, REQUEST).status == 200
    assert spent() == {budget.pk: 3 * 32 for budget in budgets}

    second = GatewayServer(REPORTING_TIME_ZONE="Asia/Kathmandu")
    second.start()
    try:
        assert gateway.at(second).post(PATH, REQUEST).status == 200
        assert spent() == {budget.pk: 4 * 32 for budget in budgets}
        assert ReportingZone.objects.get().name == "Asia/Kathmandu"
    finally:
        for pid in [*second.worker_pids(), second.pid]:
            os.kill(pid, signal.SIGKILL)
        second.stop()

    with GatewayServer(REPORTING_TIME_ZONE="Asia/Kathmandu") as third:
        assert gateway.at(third).post(PATH, REQUEST).status == 200
        wait_until(lambda: not ReportingZone.objects.get().is_changing, within_s=60)
        assert spent() == {budget.pk: 5 * 32 for budget in budgets}
        assert gateway.at(third).post(PATH, REQUEST).status == 200

    reporting_zone.follow_only()
    assert mismatches() == []
    assert {hour.minute for hour in HourlyUsage.objects.values_list("hour", flat=True)} == {15}
    assert spent() == {budget.pk: 6 * 32 for budget in budgets}


def spent() -> dict[int, int]:
    rows = BudgetPeriod.objects.order_by().values("budget").annotate(total=Sum("spent"))
    return dict(rows.values_list("budget", "total"))
