"""Scenarios: scripts with a name, which a request selects by its model or its path."""

import dataclasses
import re

from .request_log import RecordedRequest
from .steps import Script

PREFIX = "scripted-"
_PARAMETERS = re.compile(r"(-[a-z]\d+)+$")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    title: str
    script: Script
    fault: str = ""
    """The number of the fault in the catalog, U1 to U30; empty if there is none."""
    before_body: bool = False
    """Whether it responds before the body is read. Then only a path can select it: the model is in the body."""


def listed(fault: str, *rows: tuple[str, str, Script]) -> dict[str, Scenario]:
    """Return the scenarios of one fault by name; each row is name, title and script."""
    return {name: Scenario(title=title, script=script, fault=fault) for name, title, script in rows}


def name_in_path(path: str) -> str:
    """Return the name after `scripted-` in a path such as `/scripted-silent/v1/messages`, or an empty string."""
    parts = path.partition("?")[0].split("/")
    return next((part.removeprefix(PREFIX) for part in parts if part.startswith(PREFIX)), "")


def without_parameters(name: str) -> str:
    """Return a name without its numbers: `slow` for `slow-n20-i100`."""
    return _PARAMETERS.sub("", name)


def parameter(request: RecordedRequest, letter: str, default: int) -> int:
    """Return the number after a letter in the scenario's name: 20 for `n` in `slow-n20-i100`."""
    found = re.search(rf"-{letter}(\d+)(-|$)", request.scenario)
    return int(found[1]) if found else default
