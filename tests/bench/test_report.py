"""Reports: ratios are taken within a round of a run, and targets are judged by their median."""

import json
from pathlib import Path

from bench.report import tables
from bench.report.results import Results, read
from bench.report.targets import judge
from bench.servers.definitions import Target

DESCRIPTION = {
    "description": True, "mode": "plain", "date": "2026-11-30 12:00", "machine": "a machine",
    "options": {"delay_ms": "0"}, "versions": {}, "references": ["nginx"], "under_test": ["gateway"],
    "baselines": {"gateway": "base-gateway"},
}  # fmt: skip


def results(tmp_path: Path, *lines: tuple[str, int, float]) -> Results:
    file = tmp_path / "results.jsonl"
    rows = [DESCRIPTION] + [
        {"name": name, "mode": "plain", "level": 16, "round": number, "rps": rps, "fixed_work_us": 1000}
        for name, number, rps in lines
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read([file])


def test_a_ratio_is_taken_within_a_round(tmp_path: Path) -> None:
    # The machine is twice as fast in the second round. The third has no partner.
    found = results(tmp_path, ("nginx", 0, 100), ("gateway", 0, 10), ("nginx", 1, 200), ("gateway", 1, 30),
                    ("gateway", 2, 90))  # fmt: skip

    level = found.levels["plain", 16]
    assert level.ratios("gateway", "nginx", "rps") == [0.1, 0.15]
    assert level.median("gateway", "rps") == 30


def test_a_target_is_judged_by_the_median(tmp_path: Path) -> None:
    found = results(tmp_path, ("base-gateway", 0, 10), ("gateway", 0, 30), ("base-gateway", 1, 10), ("gateway", 1, 10))
    targets = [
        Target(mode="plain", figure="rps", ratio_to="earlier", at_least=2.0),
        Target(mode="plain", figure="rps", ratio_to="earlier", at_least=2.1),
        Target(mode="plain", figure="rps", at_most=19),
        Target(mode="plain", figure="rps", level=64, at_most=1),
        Target(mode="plain", figure="rps", ratio_to="portkey", at_least=1),
    ]

    verdicts = [line.split()[0] for line in judge(found, targets)]

    assert verdicts == ["reached", "MISSED", "MISSED", "?"]


def test_tables_have_the_same_cells_in_both_layouts(tmp_path: Path) -> None:
    found = results(tmp_path, ("nginx", 0, 100), ("gateway", 0, 10), ("base-gateway", 0, 5))

    text, page = (tables.text_of(found, markdown=markdown) for markdown in (False, True))

    assert "0.1" in text
    assert "| gateway | 0.1 | 2 |" in page
    assert set(text.split()) <= set(page.replace("|", " ").split())
