"""Statement of a team: totals of a period, by model and by key, with the change against the period before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q
from django.utils import timezone

from keys.domain import amounts
from keys.models import Budget, BudgetPeriod, Team
from keys.reports import totals
from keys.reports.totals import Totals, add_up
from lib import admin_links, money, periods
from lib.printable import printable

SHOWN = 20
"""Rows by model and by key. The others are added up in one row."""
OTHERS = "All others"
FOOTER = "Costs are those of this gateway's prices. Requests without a price have no cost and are counted apart."


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementPeriod:
    """A week or a month of the reporting time zone, as a half-open interval."""

    kind: str
    begin: datetime
    end: datetime

    @classmethod
    def ended_before(cls, kind: str, moment: datetime) -> "StatementPeriod":
        """Return the last period that ended at a moment or before."""
        end = periods.begin_of(kind, moment)
        return cls(kind=kind, begin=periods.begin_of(kind, end - timedelta(hours=1)), end=end)

    @property
    def before(self) -> "StatementPeriod":
        return StatementPeriod.ended_before(self.kind, self.begin)

    @property
    def name(self) -> str:
        """Its name in texts, such as `October 2026`, or its first and last day."""
        first = timezone.localtime(self.begin, periods.zone())
        if self.kind == "month":
            return f"{first:%B %Y}"
        last = timezone.localtime(self.end, periods.zone()).date() - timedelta(days=1)
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"

    @property
    def id(self) -> str:
        """Its name in keys of notifications, such as `2026-10` or `2026-W44`."""
        first = timezone.localtime(self.begin, periods.zone())
        year, week, _ = first.isocalendar()
        return f"{first:%Y-%m}" if self.kind == "month" else f"{year}-W{week:02}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementRow:
    name: str
    totals: Totals


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamStatement:
    """Each list of rows adds up to the total."""

    team: Team
    period: StatementPeriod
    total: Totals
    before: Totals
    models: list[StatementRow]
    keys: list[StatementRow]
    budgets: list[str]

    @property
    def subject(self) -> str:
        return f"Usage of {self.team} in {self.period.name}: {_cost(self.total)}"

    @property
    def text(self) -> str:
        """Return the statement as plain text."""
        zone = timezone.get_default_timezone_name()
        parts = [
            f"Team: {printable(self.team.name)}\nPeriod: {self.period.name} ({zone})",
            _facts(self.total, self.before),
            *([f"Budgets\n{_lines(self.budgets)}"] if self.budgets else []),
            f"By model\n{_table(self.models)}",
            f"By key\n{_table(self.keys)}",
            FOOTER,
        ]
        if url := self.link:
            parts.append(f"All figures and their requests: {url}")
        return "\n\n".join(parts) + "\n"

    @property
    def link(self) -> str | None:
        """The usage page with the figures of the statement; None without PUBLIC_URL."""
        begin, end = (timezone.localtime(each, periods.zone()) for each in (self.period.begin, self.period.end))
        span = {"from": f"{begin:%Y-%m-%dT%H:%M}", "to": f"{end:%Y-%m-%dT%H:%M}"}
        return admin_links.to("usage", measure="cost", group="model", team=str(self.team.pk), **span)

    @property
    def data(self) -> dict[str, Any]:
        """The figures for programs. Amounts are decimal strings of dollars."""
        return {
            "team": self.team.name,
            "period": self.period.id,
            "starts_at": self.period.begin.isoformat(),
            "ends_at": self.period.end.isoformat(),
            **_figures(self.total),
            "models": [{"model": row.name, **_figures(row.totals)} for row in self.models],
            "keys": [{"key": row.name, **_figures(row.totals)} for row in self.keys],
        }


def statement(team: Team, period: StatementPeriod) -> TeamStatement:
    """Return the statement of a period that has ended, from hourly rollups. Four queries."""
    hours = totals.hourly(period.begin, period.end).filter(team_id=team.pk)
    before = totals.hourly(period.before.begin, period.before.end).filter(team_id=team.pk)
    models = _rows(totals.grouped(hours, "model"), none="Unknown models")
    return TeamStatement(
        team=team,
        period=period,
        total=add_up([row.totals for row in models]),
        before=totals.total(before),
        models=models,
        keys=_rows(totals.grouped(hours, "name", name=F("api_key__name"))),
        budgets=_budgets(team, period),
    )


def _rows(grouped: Any, *, none: str = "") -> list[StatementRow]:
    rows = [StatementRow(name=name or none, totals=totals.from_columns(columns)) for name, *columns in grouped]
    rows.sort(key=lambda row: (-row.totals.cost_picos, -row.totals.requests, row.name))
    others = rows[SHOWN:]
    return rows[:SHOWN] + ([StatementRow(name=OTHERS, totals=add_up([row.totals for row in others]))] if others else [])


def _budgets(team: Team, period: StatementPeriod) -> list[str]:
    """Return a line for each budget of the team that has the period of the statement."""
    rows = BudgetPeriod.objects.filter(
        Q(budget__team=team, budget__period=period.kind), starts_at__lte=period.begin, ends_at__gte=period.end
    ).select_related("budget")
    return [_budget(row.budget, row) for row in rows.order_by("budget__pk", "starts_at")]


def _budget(budget: Budget, row: BudgetPeriod) -> str:
    limit = amounts.exact(budget.amount, budget.unit)
    share = f" ({100 * row.spent_exactly // limit} %)" if limit else ""
    spent, whole = (amounts.format_exact(amount, budget.unit) for amount in (row.spent_exactly, limit))
    return f"{spent} of {whole} spent{share}"


# ---- as text


def _facts(total: Totals, before: Totals) -> str:
    facts = [
        f"Cost: {_cost(total)}{_change(total.cost_picos, before.cost_picos)}",
        f"Requests: {total.requests:,}{_change(total.requests, before.requests)}",
        f"Errors: {total.errors:,}, rejected: {total.rejected:,}",
        f"Input tokens: {total.all_input_tokens:,}, of these cache reads: {total.cache_read_tokens:,}",
        f"Output tokens: {total.output_tokens:,}",
    ]
    if total.unpriced:
        facts.append(f"Requests without a price: {total.unpriced:,}")
    return "\n".join(facts)


def _cost(total: Totals) -> str:
    return "unpriced" if total.is_unpriced else money.exact(total.cost_picos)


def _change(now: int, before: int) -> str:
    """Return the change against the period before in percent; nothing if there was no usage."""
    return f" ({100 * (now - before) / before:+.0f} % against the period before)" if before else ""


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(f"  {text}" for text in texts)


def _table(rows: Sequence[StatementRow]) -> str:
    if not rows:
        return "  No requests"
    cells = [(printable(row.name), f"{row.totals.requests:,}", _cost(row.totals)) for row in rows]
    table = [("", "requests", "cost"), *cells]
    name, requests, cost = (max(len(row[i]) for row in table) for i in range(3))
    return _lines([f"{row[0]:{name}}  {row[1]:>{requests}}  {row[2]:>{cost}}" for row in table])


def _figures(total: Totals) -> dict[str, Any]:
    return {
        "requests": total.requests,
        "errors": total.errors,
        "rejected_requests": total.rejected,
        "input_tokens": total.all_input_tokens,
        "output_tokens": total.output_tokens,
        "cost_usd": None if total.is_unpriced else money.decimal(total.cost_picos),
        "unpriced_requests": total.unpriced,
    }
