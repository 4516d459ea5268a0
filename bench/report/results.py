"""Results of runs: lines of JSON, medians, and ratios within a round."""

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = dict[str, Any]


@dataclass
class Level:
    """The lines of one mode and level, by candidate and by round. A ratio never crosses a run or a round."""

    lines: dict[str, dict[tuple[str, int], Line]] = field(default_factory=lambda: defaultdict(dict))

    def values(self, name: str, figure: str) -> list[float]:
        return [line[figure] for line in self.lines.get(name, {}).values() if line.get(figure) is not None]

    def median(self, name: str, figure: str) -> float | None:
        values = self.values(name, figure)
        return statistics.median(values) if values else None

    def ratios(self, name: str, other: str, figure: str) -> list[float]:
        return [own / theirs for own, theirs in self._pairs(name, other, figure) if theirs]

    def differences(self, name: str, other: str, figure: str) -> list[float]:
        return [own - theirs for own, theirs in self._pairs(name, other, figure)]

    def _pairs(self, name: str, other: str, figure: str) -> list[tuple[float, float]]:
        others = self.lines.get(other, {})
        return [
            (line[figure], others[key][figure])
            for key, line in self.lines.get(name, {}).items()
            if line.get(figure) is not None and others.get(key, {}).get(figure) is not None
        ]

    def rounds(self) -> int:
        return max((len(rounds) for rounds in self.lines.values()), default=0)


@dataclass
class Results:
    descriptions: list[Line] = field(default_factory=list)
    levels: dict[tuple[str, int], Level] = field(default_factory=lambda: defaultdict(Level))

    def description(self, mode: str) -> Line:
        return next(line for line in self.descriptions if line["mode"] == mode)


def read(files: list[Path]) -> Results:
    found = Results()
    for file in files:
        for line in map(json.loads, file.read_text().splitlines()):
            if line.get("description"):
                found.descriptions.append(line)
            else:
                level = found.levels[line["mode"], line["level"]]
                level.lines[line["name"]][str(file), line["round"]] = line
    return found
