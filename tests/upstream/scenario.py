"""A scenario: a script with a name, which a call chooses by its model or by its path."""

import dataclasses
import re

from .request_log import RecordedRequest
from .steps import Script

PREFIX = "scripted-"
_KNOBS = re.compile(r"(-[a-z]\d+)+$")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    title: str
    script: Script
    fault: str = ""
    """The number of the fault in the catalogue, U1 to U30; empty for what is no fault."""
    before_body: bool = False
    """Whether it answers before the body is read; only a path can choose it then, since the model is in the body."""


def listed(fault: str, *rows: tuple[str, str, Script]) -> dict[str, Scenario]:
    """Return scenarios of one fault by name, each given as name, title and script."""
    return {name: Scenario(title=title, script=script, fault=fault) for name, title, script in rows}


def name_in_path(path: str) -> str:
    """Return what follows `scripted-` in a part of the path, as in `/scripted-silent/v1/messages`, or nothing."""
    parts = path.partition("?")[0].split("/")
    return next((part.removeprefix(PREFIX) for part in parts if part.startswith(PREFIX)), "")


def without_knobs(name: str) -> str:
    """Return a name without the numbers at its end: `slow` for `slow-n20-i100`."""
    return _KNOBS.sub("", name)


def knob(request: RecordedRequest, letter: str, default: int) -> int:
    """Return the number that the scenario's name gives under a letter: 20 for `n` in `slow-n20-i100`."""
    found = re.search(rf"-{letter}(\d+)(-|$)", request.scenario)
    return int(found[1]) if found else default
