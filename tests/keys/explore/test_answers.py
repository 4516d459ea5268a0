"""Results of questions: every grouping adds up to the total, and every figure leads to exactly its records."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.http import QueryDict

from keys.explore import dimensions, figures, intervals, records, sources
from keys.explore.answer import SHOWN, Answer, AnswerRow, answer
from keys.explore.buckets import BUCKETS
from keys.explore.figures import COLUMNS, Figures
from keys.explore.intervals import Interval
from keys.explore.measures import DURATION, MEASURES, TTFT
from keys.explore.question import Filter, Question, parse
from keys.explore.sources import SourcePart
from keys.models import APIKey, RetainedUsage
from keys.usage import rollup_check, statements
from keys.usage.rows import Row as RecordRow
from keys.usage.statements import Settle
from lib import query_limit
from tests.support.random_requests import PERIODS, RandomRequests
from tests.support.usage_rows import UsageRecorder

ZONES = ["UTC", "Asia/Kolkata", "America/New_York"]
SHORT, LONG = 1_500, 100_000
BATCH = 250
NOW = datetime(2026, 11, 2, 4, 20, tzinfo=UTC)
ALL = Interval(begin=PERIODS[0][0], end=PERIODS[-1][1] + timedelta(days=1))
NAMES = [*dimensions.DIMENSIONS, "tag.project", "tag.stage"]
VALUES = {
    "team": ["0"],
    "owner": ["0"],
    "model": ["claude-opus", "gpt", "", "invented"],
    "upstream": ["anthropic", "local", ""],
    "upstream_model": ["a", ""],
    "api_format": ["envelope", "openai"],
    "outcome": ["completed", "failed", "rejected", "client_closed", "started"],
    "error_type": ["", "overloaded_error"],
    "usage_source": ["", "reported"],
    "session": ["", "session-3"],
    "agent": ["", "agent-1"],
    "tag.project": ["", "apollo"],
}


@pytest.fixture(autouse=True)
def at_a_moment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(query_limit, "DEFAULT_S", 600.0)  # a busy machine
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def requests(quiet_ledger: None, owner: User, at_length: bool) -> list[RecordRow]:
    """Settle random requests in batches, as the ledger does, and leave some in flight. Return the settled rows."""
    rows = list(RandomRequests(Random(20261115), owner).rows(LONG if at_length else SHORT))
    for begin in range(0, len(rows), BATCH):
        statements.write([Settle(row) for row in rows[begin : begin + BATCH]], connection)
    recorder = UsageRecorder(APIKey.objects.get(name="app 0"))
    for minutes in (0, 30, 75):
        recorder.record(status="started", model="gpt", created_at=NOW - timedelta(minutes=minutes))
    return rows


def use_zone(name: str, settings: Any) -> None:
    settings.TIME_ZONE = name
    for each in rollup_check.iter_intervals(ALL.begin - timedelta(days=1), ALL.end + timedelta(days=1)):
        if rollup_check.mismatches(each):
            rollup_check.repair(each)


def additive(each: Figures) -> list[Any]:
    names = [name for name, measure in MEASURES.items() if measure.is_sum and name != "cost"]
    return [each.totals, each.cache_savings_picos, each.duration_ms, *(MEASURES[name].value(each) for name in names)]


def of_records(question: Question) -> Figures:
    """Read the figures of a question from its records alone."""
    part = SourcePart(question=question, unfiltered=records.matching(question))
    [values] = sources.sums([part], COLUMNS).values() or [[0] * len(COLUMNS)]
    histograms = sources.histograms([part], (DURATION, TTFT))
    return figures.from_columns(COLUMNS, values).with_histograms(next(iter(histograms.values()), {}))


@pytest.mark.timeout(1800)  # of the long form
@pytest.mark.parametrize("zone", ZONES)
def test_every_grouping_adds_up_to_the_total(requests: list[RecordRow], zone: str, settings: Any) -> None:
    use_zone(zone, settings)
    admitted = [row for row in requests if row["status"] != "rejected"]

    for number, name in enumerate(NAMES):
        found = answer(Question(groups=(name,), interval=ALL, bucket="day"))

        assert found.total.totals.requests == len(admitted) + 3, name
        assert found.total.totals.rejected == len(requests) - len(admitted)
        assert found.total.totals.in_flight == 3
        assert found.total.totals.cost_picos == sum(row["cost_usd_picos"] or 0 for row in requests)
        assert found.total.cache_savings_picos == sum(row["cache_savings_usd_picos"] or 0 for row in requests)
        assert found.total.totals.output_tokens == sum(row["output_tokens"] or 0 for row in requests)
        assert found.total.duration.requests == sum(row["duration_ms"] is not None for row in requests)
        assert additive(added(row.figures for row in found.rows)) == additive(found.total), name
        assert additive(added(found.series)) == additive(found.total), name
        for row in found.rows[:: 1 + number % 3]:
            cost = added(row.series).totals.cost_picos
            assert cost == row.figures.totals.cost_picos, (name, row.labels)
    combined = answer(Question(groups=("model", "outcome"), interval=ALL, measure="requests"))
    assert additive(added(row.figures for row in combined.rows)) == additive(found.total)


def added(parts: Any) -> Figures:
    found = Figures()
    for part in parts:
        found = Figures(
            totals=found.totals + part.totals,
            cache_savings_picos=found.cache_savings_picos + part.cache_savings_picos,
            duration_ms=found.duration_ms + part.duration_ms,
        )
    return found


def random_question(random: Random) -> Question:
    values = {**VALUES, "key": [key.public_id for key in APIKey.objects.all()]}
    named = random.sample(sorted(values), k=random.choice([0, 0, 1, 2]))
    filters = tuple(
        Filter(
            dimension=name,
            values=tuple(random.sample(values[name], k=min(len(values[name]), random.choice([1, 2])))),
            is_excluded=random.random() < 0.4,
        )
        for name in named
    )
    begin, end = random.choice([*PERIODS, (ALL.begin, ALL.end)])
    begin += timedelta(seconds=random.choice([0, 0, random.randrange(20 * 3600)]))
    end = random.choice([end, begin + timedelta(seconds=random.randrange(1, 6 * 3600))])
    return Question(
        measure=random.choice(list(MEASURES)),
        groups=tuple(random.sample(NAMES, k=random.choice([0, 1, 1, 2]))),
        filters=filters,
        interval=Interval(begin=begin, end=end),
        bucket=random.choice(["", *BUCKETS]),
        compare=random.random() < 0.5,
    )


def random_figures(found: Answer, random: Random) -> Iterator[tuple[str, str, Figures]]:
    """Yield ten figures: the measure, the URL of its records, and the figures that the page shows."""
    for _ in range(10):
        row: AnswerRow | None = random.choice([None, *found.rows])
        kind = random.choice(["whole", "bucket", "before", "card"])
        number = random.randrange(len(found.begins))
        whole = row.figures if row else found.total
        if kind == "bucket":
            shown = (row.series if row else found.series)[number]
            yield found.question.measure, found.records_url(row, number=number), shown
        elif kind == "before" and found.question.compare:
            before = row.before if row else found.total_before
            assert before is not None
            yield found.question.measure, found.records_url(row, before=True), before
        else:
            measure = found.question.measure
            if kind == "card" and not MEASURES[measure].latency:
                measure = random.choice([name for name, each in MEASURES.items() if not row or not each.latency])
            yield measure, found.records_url(row, measure=measure), whole


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("zone", ZONES)
def test_random_figures_lead_to_exactly_their_records(
    requests: list[RecordRow], zone: str, settings: Any, at_length: bool
) -> None:
    use_zone(zone, settings)
    random = Random(zone)
    followed = 0

    for _ in range(50 if at_length else 25):
        question = random_question(random)
        found = answer(question)
        for name, url, shown in random_figures(found, random):
            measure = MEASURES[name]
            if not url:
                assert len(question.groups) == 2 or not measure.value(shown), (question, name)
                continue
            selected, left_out = parse(QueryDict(url.partition("?")[2]))
            assert left_out == []
            behind = of_records(selected)
            if name == "error_rate":
                assert behind.totals.requests == shown.totals.errors
            else:
                assert measure.value(behind) == measure.value(shown), (question, name, url)
            followed += 1
    assert followed > (300 if at_length else 150)


def test_a_period_is_compared_with_one_of_equal_length(quiet_ledger: None, owner: User) -> None:
    record = UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record
    day = timedelta(days=1)
    for minutes in (1, 5, 15, 25):
        for moment in (NOW - day, NOW):
            record(created_at=moment - timedelta(minutes=minutes))
    record(created_at=NOW - day + timedelta(minutes=1))  # after the same time of yesterday

    found = answer(parse(QueryDict("measure=requests&group=key&range=today&compare=1"))[0])

    assert found.interval_before == Interval(begin=datetime(2026, 11, 1, tzinfo=UTC), end=NOW - day)
    assert found.total_before is not None
    assert (found.total.totals.requests, found.total_before.totals.requests) == (4, 4)
    assert [(row.figures.totals.requests, row.before and row.before.totals.requests) for row in found.rows] == [(4, 4)]
    assert intervals.local(found.begins[4]).hour == 4


def test_groups_beyond_the_table_are_one_row(quiet_ledger: None, owner: User) -> None:
    record = UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record
    for number in range(SHOWN + 3):
        for _ in range(1 + (number == 7)):
            record(created_at=NOW, model=f"model-{number}", session_id=f"session-{number}")

    for name in ("model", "session"):
        found = answer(parse(QueryDict(f"measure=requests&group={name}&range=today"))[0])

        assert len(found.rows) == SHOWN + 1
        assert found.rows[0].labels == (f"{name}-7",) and found.rows[0].figures.totals.requests == 2
        others = found.rows[-1]
        assert others.is_others and others.figures.totals.requests == 3
        behind = parse(QueryDict(found.records_url(others).partition("?")[2]))[0]
        assert records.matching(behind).count() == 3
        assert sum(each.totals.requests for each in others.series) == 3


def test_the_series_of_the_chart_are_those_of_all_rows(quiet_ledger: None, owner: User) -> None:
    record = UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record
    for number in range(9):
        for _ in range(number + 1):
            record(created_at=NOW, model=f"model-{number}", duration_ms=10 * number)
    question = parse(QueryDict("measure=latency_p95&group=model&range=today"))[0]

    every, charted = answer(question), answer(question, charted_only=True)

    series = {row.values: row.series for row in every.rows}
    assert all(series.values())
    assert {row.values: row.series for row in charted.rows if row.series} == {
        (f"model-{number}",): series[f"model-{number}",] for number in range(2, 9)
    }
    assert [row.figures for row in charted.rows] == [row.figures for row in every.rows]


def test_figures_of_purged_records_have_no_links(quiet_ledger: None, owner: User) -> None:
    record = UsageRecorder(APIKey.objects.issue(name="app", owner=owner)[0]).record
    for days in (0, 3):
        record(created_at=NOW - timedelta(days=days), model="gpt")
    kept = intervals.midnight(intervals.local(NOW).date() - timedelta(days=1))
    RetainedUsage.objects.create(records_begin=kept)

    found = answer(parse(QueryDict("measure=requests&group=model&range=7d&bucket=day&compare=1"))[0])
    [row] = found.rows
    links = {begin: found.records_url(row, number=number) for number, begin in enumerate(found.begins)}

    assert row.figures.totals.requests == 2
    assert {begin for begin, link in links.items() if link} == {begin for begin in found.begins if begin >= kept}
    assert found.records_url(row) == found.records_url() == found.records_url(before=True) == ""


def test_a_scope_restricts_every_figure(requests: list[RecordRow]) -> None:
    team = requests[0]["team_id"] or next(row["team_id"] for row in requests if row["team_id"])

    found = answer(replace(Question(groups=("team",), interval=ALL), teams=frozenset([team])))
    nothing = answer(replace(Question(groups=("session",), interval=ALL), teams=frozenset()))

    assert [row.values for row in found.rows] == [(str(team),)]
    assert found.total.totals.cost_picos == sum(
        row["cost_usd_picos"] or 0 for row in requests if row["team_id"] == team
    )
    assert nothing.rows == [] and nothing.total == Figures()
