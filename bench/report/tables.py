"""
Tables of results: `python -m bench.report.tables [--markdown] FILE...`

Medians of each candidate, and the ratios to the references and to the earlier revision within the same round.
"""

import argparse
import statistics
from pathlib import Path

from bench.report.results import Level, Line, Results, read

COLUMNS = {
    "plain": {
        "rps": ("req/s", ".0f"),
        "p50": ("p50 ms", ".2f"),
        "p99": ("p99 ms", ".1f"),
        "us_per_request": ("µs CPU/req", ".0f"),
        "core": ("core", ".0%"),
        "load_core": ("load core", ".0%"),
        "peak_mb": ("peak MB", ".0f"),
        "errors": ("errors", ".0f"),
    },
    "streams": {
        "ok": ("ok", ".0f"),
        "bad": ("bad", ".0f"),
        "first_p50": ("first p50", ".1f"),
        "first_p99": ("first p99", ".1f"),
        "gap_p99": ("gap p99", ".0f"),
        "gap_max": ("gap max", ".0f"),
        "relay_p50": ("relay p50", ".1f"),
        "relay_p99": ("relay p99", ".1f"),
        "of_rate": ("of rate", ".0%"),
        "core": ("core", ".0%"),
        "load_core": ("load core", ".0%"),
        "us_per_chunk": ("µs CPU/chunk", ".0f"),
        "memory_mb": ("MB", ".0f"),
        "mb_per_1000": ("MB/1000", ".0f"),
    },
}
COMPARED = {
    "plain": {"rps": "req/s", "us_per_request": "µs CPU/req"},
    "streams": {"us_per_chunk": "µs CPU/chunk", "first_p50": "first p50"},
}
STEADY = 1.3  # the fixed work may take this much longer within a level

Rows = list[list[str]]


def text_of(results: Results, *, markdown: bool = False) -> str:
    layout = _markdown if markdown else aligned
    parts = []
    for (mode, level), figures in sorted(results.levels.items()):
        description = results.description(mode)
        unit = "connections" if mode == "plain" else "streams"
        parts.append(f"{mode}, {level} {unit}, medians of {figures.rounds()} rounds")
        parts.append(layout(medians(mode, figures)))
        for figure, label in COMPARED[mode].items():
            if rows := ratios(figures, description, figure, label):
                parts.append(layout(rows))
        parts.append(_speed(figures))
        parts += [f"! {problem}" for problem in _problems(figures)]
    return "\n\n".join(parts)


def heading(results: Results) -> str:
    lines = []
    for description in results.descriptions:
        lines.append(f"{description['mode']}, {description['date']}, {description['machine']}")
        lines += [f"  {name}: {version}" for name, version in description["versions"].items()]
    return "\n".join(dict.fromkeys(lines))


def medians(mode: str, figures: Level) -> Rows:
    rows = [["candidate", *(label for label, _ in COLUMNS[mode].values())]]
    for name in figures.lines:
        values = [(figures.median(name, figure), form) for figure, (_, form) in COLUMNS[mode].items()]
        rows.append([name, *("-" if value is None else format(value, form) for value, form in values)])
    return rows


def ratios(figures: Level, description: Line, figure: str, label: str) -> Rows:
    """Return each candidate's ratio to the references, and to its earlier revision."""
    references = [name for name in description["references"] if name in figures.lines]
    baselines = {name: base for name, base in description["baselines"].items() if base in figures.lines}
    if not references and not baselines:
        return []
    rows = [[f"{label}, ratio to", *references, *(["earlier revision"] if baselines else [])]]
    for name in figures.lines:
        others = references + ([baselines.get(name, "")] if baselines else [])
        rows.append(
            [name, *("1" if other == name else spread(figures.ratios(name, other, figure)) for other in others)]
        )
    return rows


def spread(values: list[float]) -> str:
    """Return the median and the range: 16.3 (14.9-18.0)."""
    if not values:
        return "-"
    low, middle, high = (short(value) for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def short(value: float) -> str:
    """Return three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _speed(figures: Level) -> str:
    times = [line["fixed_work_us"] for rounds in figures.lines.values() for line in rounds.values()]
    changed = "; the speed changed: use ratios only" if max(times) > STEADY * min(times) else ""
    return f"machine speed: fixed work took {min(times)} to {max(times)} µs{changed}"


def _problems(figures: Level) -> list[str]:
    found: list[str] = []
    for name, rounds in figures.lines.items():
        problems = sorted({problem for line in rounds.values() for problem in line.get("problems", [])})
        found += [f"{name}: {problem}" for problem in problems[:3]]
    return found


def aligned(rows: Rows) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    return "\n".join(lines)


def _markdown(rows: Rows) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    results = read(options.files)
    print(heading(results), text_of(results, markdown=options.markdown), sep="\n\n")


if __name__ == "__main__":
    main()
