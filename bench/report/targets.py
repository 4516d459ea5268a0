"""Targets: whether the figures of the candidates under test reach them."""

import statistics

from bench.report.results import Level, Results
from bench.report.tables import spread
from bench.servers.definitions import Target


def judge(results: Results, targets: list[Target]) -> list[str]:
    """Return one line per target, level and candidate. None if the upstream delayed its responses."""
    lines = []
    for target in targets:
        for (mode, level), figures in results.levels.items():
            if mode != target.mode or target.level not in (None, level):
                continue
            description = results.description(mode)
            if description["options"]["delay_ms"] != "0":
                continue
            names = target.only or description["under_test"]
            lines += [_line(target, level, name, figures) for name in names if name in figures.lines]
    return lines


def _line(target: Target, level: int, name: str, figures: Level) -> str:
    values, unit = _values(target, name, figures)
    goal = f"at least {target.at_least}" if target.at_least is not None else f"at most {target.at_most}"
    label = f"{name}, {target.mode} {level}: {target.figure}{unit}"
    if not values:
        return f"?       {label}: not measured"
    middle = statistics.median(values)
    is_reached = (target.at_least is None or middle >= target.at_least) and (
        target.at_most is None or middle <= target.at_most
    )
    return f"{'reached' if is_reached else 'MISSED '} {label} is {spread(values)}, target {goal}"


def _values(target: Target, name: str, figures: Level) -> tuple[list[float], str]:
    if target.ratio_to == "earlier":
        return figures.ratios(name, f"base-{name}", target.figure), " / earlier revision"
    if target.ratio_to:
        return figures.ratios(name, target.ratio_to, target.figure), f" / {target.ratio_to}"
    if target.minus:
        return figures.differences(name, target.minus, target.figure), f" - {target.minus}"
    return figures.values(name, target.figure), ""
