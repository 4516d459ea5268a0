"""Grammar of questions in URLs: read and written again, and never an error for any text."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from keys.explore import intervals, links, records
from keys.explore.buckets import BUCKETS
from keys.explore.dimensions import DIMENSIONS
from keys.explore.intervals import PRESETS, Interval
from keys.explore.measures import MEASURES
from keys.explore.question import CHARTS, MAX_NOTES, MAX_VALUES, Filter, Question, parse
from keys.models import UsageRecord
from tests.support import ROOT

NOW = datetime(2026, 7, 15, 12, 34, tzinfo=UTC)
PARAMETERS = st.sampled_from(
    ["measure", "group", "range", "from", "to", "bucket", "compare", "chart", "sort", "model", "not_model", "team"]
)
FILTERS = st.sampled_from(
    ["key", "tag.project", "not_tag.x", "tag.", "not_", "session", "outcome", "owner", "not_owner", "nonsense"]
)
TEXTS = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["cost", "model", "9999-12-31", "0001-01-01T00:00", "2026-07-01", "7d", "1" * 40, "\0", "key_1"]),
)


def asked(query: str, now: datetime = NOW) -> Question:
    question, left_out = parse(QueryDict(query), now=now)
    assert left_out == []
    return question


def test_a_question_is_read_from_a_url_and_written_again() -> None:
    query = (
        "measure=tokens&group=team&group=tag.project&from=2026-07-01T00%3A00&to=2026-08-01T00%3A00&model=a&model=b"
        "&not_tag.project=x+y&bucket=week&sort=-cost&compare=1&chart=line"
    )

    question = asked(query)

    assert question == Question(
        measure="tokens",
        groups=("team", "tag.project"),
        filters=(
            Filter(dimension="model", values=("a", "b")),
            Filter(dimension="tag.project", values=("x y",), is_excluded=True),
        ),
        interval=Interval(begin=datetime(2026, 7, 1, tzinfo=UTC), end=datetime(2026, 8, 1, tzinfo=UTC)),
        bucket="week",
        compare=True,
        chart="line",
        sort="-cost",
    )
    assert question.query() == query
    assert asked(asked("group=").query()).groups == ()


@pytest.mark.parametrize(
    "preset, begin, end",
    [
        ("today", "2026-07-15T00:00", "2026-07-16T00:00"),
        ("yesterday", "2026-07-14T00:00", "2026-07-15T00:00"),
        ("24h", "2026-07-14T13:00", "2026-07-15T13:00"),
        ("7d", "2026-07-09T00:00", "2026-07-16T00:00"),
        ("30d", "2026-06-16T00:00", "2026-07-16T00:00"),
        ("90d", "2026-04-17T00:00", "2026-07-16T00:00"),
        ("this_month", "2026-07-01T00:00", "2026-08-01T00:00"),
        ("last_month", "2026-06-01T00:00", "2026-07-01T00:00"),
        ("12mo", "2025-08-01T00:00", "2026-08-01T00:00"),
    ],
)
def test_presets(preset: str, begin: str, end: str) -> None:
    interval = asked(f"range={preset}").interval

    assert (intervals.text_of(interval.begin), intervals.text_of(interval.end)) == (begin, end)


@pytest.mark.parametrize(
    "query, begin, end",
    [
        ("range=today", "2026-07-14T00:00", "2026-07-14T12:34"),
        ("range=7d", "2026-07-02T00:00", "2026-07-08T12:34"),
        ("range=last_month", "2026-05-01T00:00", "2026-06-01T00:00"),
        ("range=this_month", "2026-06-01T00:00", "2026-06-15T12:34"),
        ("from=2026-07-01T10:00&to=2026-07-01T12:00", "2026-07-01T08:00", "2026-07-01T10:00"),
    ],
)
def test_the_interval_before_is_of_equal_length(query: str, begin: str, end: str) -> None:
    earlier = intervals.before(asked(query).interval, NOW)

    assert (intervals.text_of(earlier.begin), intervals.text_of(earlier.end)) == (begin, end)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York", "America/Havana", "Australia/Lord_Howe"])
def test_moments_are_wall_time_of_the_reporting_zone(zone: str, settings: Any) -> None:
    settings.TIME_ZONE = zone

    @given(st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)))
    def is_read_again(moment: datetime) -> None:
        assert intervals.moment_of(intervals.text_of(moment)) == moment

    is_read_again()
    day = datetime(2026, 3, 8)
    midnight = intervals.moment_of("2026-03-08")
    assert intervals.local(midnight).replace(tzinfo=None) - day in (timedelta(), timedelta(hours=1))


@pytest.mark.parametrize(
    "query, sentence",
    [
        ("measure=nonsense", "Unknown measure “nonsense”: left out."),
        ("group=nonsense", "Unknown group “nonsense”: left out."),
        ("group=model&group=team&group=key", "A table has at most 2 groups: the others were left out."),
        ("range=year", "Unknown range “year”: left out."),
        ("from=2026-07-02&to=2026-07-01", "The range ends before it begins. Shown instead: the last 7 days."),
        ("from=2001-01-01&to=2026-07-01", "A range covers at most ten years. Shown instead: the last 7 days."),
        (
            "from=9999-12-31&to=9999-12-31T23:59",
            "“9999-12-31” is not in the years 2000 to 2100. Shown instead: the last 7 days.",
        ),
        (
            "from=2026-02-30&to=2026-03-01",
            "“2026-02-30” is no date and time: write 2026-11-30 or 2026-11-30T14:00. Shown instead: the last 7 days.",
        ),
        ("outcome=nonsense", "Outcome: “nonsense” cannot be a value and was left out."),
        ("team=%00", "Team: “\0” cannot be a value and was left out."),
        ("owner=99999999999999999999", "Owner: “99999999999999999999” cannot be a value and was left out."),
        ("color=red", "Unknown parameter “color”: left out."),
        ("sort=color", "Unknown order “color”: left out."),
        ("&".join(f"model={n}" for n in range(500)), f"Model: the first {MAX_VALUES} of 500 values are used."),
    ],
)
def test_parts_that_are_left_out_are_named(query: str, sentence: str) -> None:
    assert parse(QueryDict(query), now=NOW)[1] == [sentence]


@given(st.lists(st.tuples(PARAMETERS | FILTERS, TEXTS), max_size=20))
def test_no_text_is_an_error_and_what_is_read_is_written(pairs: list[tuple[str, str]]) -> None:
    parameters = QueryDict(mutable=True)
    for name, text in pairs:
        parameters.appendlist(name, text)

    question, left_out = parse(parameters, now=NOW)

    assert len(left_out) <= MAX_NOTES + 1
    assert question.bucket in {"", *BUCKETS} and question.interval.preset in {"", *PRESETS}
    assert parse(QueryDict(question.query()), now=NOW) == (question, [])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "measure, query, outcomes",
    [
        ("cost", "", []),
        ("requests", "", ["not_outcome=rejected"]),
        ("errors", "", ["outcome=failed", "outcome=interrupted"]),
        ("errors", "outcome=failed&outcome=completed", ["outcome=failed"]),
        ("errors", "outcome=completed", None),
        ("rejected", "not_outcome=failed", ["outcome=rejected"]),
    ],
)
def test_a_link_to_records_has_the_outcomes_that_the_measure_counts(
    measure: str, query: str, outcomes: list[str] | None
) -> None:
    with time_machine.travel(NOW, tick=False):
        url = links.records_url(asked(f"measure={measure}&range=today&{query}"), model="a")

    range_and_model = ["from=2026-07-15T00%3A00", "to=2026-07-16T00%3A00", "model=a"]
    expected = range_and_model + outcomes if outcomes is not None else None
    assert url == (f"/admin/keys/usagerecord/?{'&'.join(expected)}" if expected else "")


@pytest.mark.django_db
def test_a_scope_is_part_of_every_condition() -> None:
    question = Question(teams=frozenset())

    assert list(records.matching(question)) == []
    assert records.matching(Question()).model is UsageRecord


def test_the_docs_list_every_measure_dimension_and_preset() -> None:
    documented = set(re.findall(r"`([^`\n]+)`", (ROOT / "docs" / "usage.md").read_text()))

    assert {*MEASURES, *DIMENSIONS, *PRESETS, *BUCKETS, *CHARTS, *DIMENSIONS["outcome"].choices} <= documented
