"""
Measures the questions of the usage page on the database of a year (see `fill_year`), and writes a table.

    DATABASE_URL=… python -m bench.pages.measure_year [--rounds 3] [--only rollups|records|pages|export] [--slowest 10]

A question is what the page reads for it: totals, rows and series. Pages are complete responses.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations, product

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import QueryDict  # noqa: E402
from django.test import Client  # noqa: E402

from bench.pages.year_sessions import MODELS, UPSTREAMS  # noqa: E402
from keys.explore.answer import answer  # noqa: E402
from keys.explore.question import parse  # noqa: E402
from keys.models import APIKey, Team  # noqa: E402
from lib.query_limit import QueryTimeout  # noqa: E402

GROUPS = (
    "team owner key model upstream upstream_model api_format outcome error_type usage_source".split()  # noqa: SIM905
)
MEASURES = "cost requests input_tokens error_rate latency_p95 ttft_p50 output_speed cache_hit_rate".split()  # noqa: SIM905
RANGES = ("24h", "7d", "30d", "90d", "12mo")
BY_RECORDS = ("session", "agent", "tag.project")


@dataclass(slots=True)
class Times:
    """The times of a set of questions, in milliseconds."""

    name: str
    limit_ms: float
    by_subject: dict[str, float] = field(default_factory=dict)

    def percentile(self, percent: int) -> float:
        ordered = sorted(self.by_subject.values())
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

    def row(self) -> str:
        over = sum(each > self.limit_ms for each in self.by_subject.values())
        return (
            f"| {self.name} | {len(self.by_subject):,} | {self.percentile(50):,.0f} | {self.percentile(95):,.0f} | "
            f"{self.percentile(100):,.0f} | {self.limit_ms:,.0f} | {over} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slowest", type=int, default=8)
    parser.add_argument("--only", choices=SETS)
    options = parser.parse_args()
    settings.ALLOWED_HOSTS = ["testserver"]
    found: list[Times] = []
    for name, measure in SETS.items():
        if options.only in (None, name):
            found += measure(options.rounds)
    print(f"| {connection.vendor} | questions | median ms | p95 ms | slowest ms | limit ms | over |")
    print("|---|---|---|---|---|---|---|")
    for times in found:
        print(times.row())
    for times in found:
        slowest = sorted(times.by_subject.items(), key=lambda each: -each[1])[: options.slowest]
        print(f"\n{times.name}", *(f"{took:9,.0f} ms  {subject}" for subject, took in slowest), sep="\n")


def _best(run: Callable[[], object], rounds: int) -> float:
    """Return the shortest of some runs: what the database and the process need on a machine that does other things."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        with suppress(QueryTimeout):  # which takes longer than any limit
            run()
        times.append((time.perf_counter() - begin) * 1000)
    return min(times)


def _answers(name: str, limit_ms: float, queries: Iterator[str], rounds: int) -> Times:
    times = Times(name, limit_ms)
    for query in queries:
        question, notes = parse(QueryDict(query))
        assert not notes, (query, notes)
        times.by_subject[query] = _best(lambda question=question: answer(question), rounds)  # type: ignore[misc]
    return times


# ---- Questions that rollups have.


def _of_rollups(rounds: int) -> list[Times]:
    return [
        _answers("default view", 250, iter([""]), rounds),
        _answers("one group", 500, _one_group(), rounds),
        _answers("without a group", 500, _without_group(), rounds),
        _answers("two groups", 500, _two_groups(), rounds),
        _answers("with filters", 500, _filtered(), rounds),
        _answers("compared", 500, _compared(), rounds),
    ]


def _one_group() -> Iterator[str]:
    for group, period, measure in product(GROUPS, RANGES, ("cost", "latency_p95")):
        yield f"measure={measure}&group={group}&range={period}"


def _without_group() -> Iterator[str]:
    for measure, period in product(MEASURES, RANGES):
        yield f"measure={measure}&range={period}"


def _two_groups() -> Iterator[str]:
    pairs = [*combinations(GROUPS, 2)]
    for number, (first, second) in enumerate(pairs):
        measure, period = ("cost", "latency_p95")[number % 2], RANGES[number % len(RANGES)]
        yield f"measure={measure}&group={first}&group={second}&range={period}"


def _filtered() -> Iterator[str]:
    team = Team.objects.order_by("pk").values_list("pk", flat=True)[3]
    key = APIKey.objects.order_by("pk").values_list("public_id", flat=True)[0]
    filters = (f"team={team}", f"key={key}", f"model={MODELS[7]}", f"not_upstream={UPSTREAMS[0]}", "outcome=failed")
    for each, period, measure in product(filters, ("7d", "90d", "12mo"), ("cost", "latency_p95")):
        yield f"measure={measure}&group=model&{each}&range={period}"


def _compared() -> Iterator[str]:
    for group, period in product(("team", "model", "key"), ("today", "7d", "30d", "last_month", "12mo")):
        yield f"measure=cost&group={group}&range={period}&compare=1"


# ---- Questions that need records, pages and exports.


def _of_records(rounds: int) -> list[Times]:
    queries = (
        f"measure={measure}&group={group}&range=7d" for measure in ("cost", "latency_p95") for group in BY_RECORDS
    )
    finer = (f"measure=requests&group=model&range=24h&bucket={bucket}" for bucket in ("5minutes",))
    return [
        _answers("by session, agent, tag over 7 days", 2000, queries, rounds),
        _answers("buckets below an hour", 2000, finer, rounds),
    ]


def _of_pages(rounds: int) -> list[Times]:
    call_command("collectstatic", interactive=False, verbosity=0)
    client = Client()
    client.force_login(User.objects.get(username="root"))
    explorer = "/admin/keys/usagerecord/"
    team = Team.objects.order_by("pk").values_list("pk", flat=True)[3]
    key = APIKey.objects.order_by("pk").values_list("public_id", flat=True)[0]
    selections = [
        "", "?range=7d", "?range=30d&outcome=failed", f"?range=7d&key={key}", f"?range=24h&team={team}",
        f"?range=24h&model={MODELS[7]}", "?range=24h&error_type=timeout_error",
    ]  # fmt: skip
    pages: Mapping[str, tuple[float, list[str]]] = {
        "usage page, default view": (250, ["/admin/usage/"]),
        "overview": (500, ["/admin/"]),
        "explorer pages": (200, [explorer + each for each in selections]),
    }
    found = []
    for name, (limit_ms, paths) in pages.items():
        times = Times(name, limit_ms)
        for path in paths:
            times.by_subject[path] = _best(lambda path=path: _get(client, path), rounds)  # type: ignore[misc]
        found.append(times)
    return found


def _get(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200, (path, response.status_code)


def _of_export(rounds: int) -> list[Times]:
    """Export records of a month and print how much the memory of the process grows."""
    client = Client()
    client.force_login(User.objects.get(username="root"))
    times = Times("export, ms per 1,000 lines", 1000)
    for path in EXPORTS:
        before, begin, lines = _peak_mb(), time.perf_counter(), 0
        for chunk in client.get(path).streaming_content:  # type: ignore[attr-defined]
            lines += chunk.count(b"\n")
        times.by_subject[path] = (time.perf_counter() - begin) * 1_000_000 / max(1, lines)
        print(f"{lines:,} lines of {path}: memory grew by {_peak_mb() - before:.0f} MB")
    return [times]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


EXPORTS = ("/admin/usage.csv?from=2026-01-01&to=2026-11-30",)
SETS: dict[str, Callable[[int], list[Times]]] = {
    "rollups": _of_rollups,
    "records": _of_records,
    "pages": _of_pages,
    "export": _of_export,
}

if __name__ == "__main__":
    main()
