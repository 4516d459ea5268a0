"""Definitions of servers and candidates, read from TOML files."""

import os
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load.bodies import FORMATS


class BenchError(Exception):
    """A measurement cannot be defined, prepared or started."""


@dataclass(kw_only=True)
class Server:
    """A program to start, whose texts still hold ${variables}. `folder` is that of its TOML file."""

    name: str
    folder: Path
    command: list[str] = field(default_factory=list)
    is_upstream: bool = False  # no program: the load goes to the mock upstream
    is_on_load_core: bool = False
    needs: list[str] = field(default_factory=list)  # servers to start before, whose ports are ${name_port}
    cwd: str = "${run}"
    env: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)  # templates, written to the run folder
    prepare: list[list[str]] = field(default_factory=list)
    key_command: list[str] = field(default_factory=list)  # its output ends with ${key}
    version: list[str] = field(default_factory=list)
    health: str = ""  # a path with a status below 400 when ready; without one, the port is open


@dataclass(kw_only=True)
class Candidate:
    """What is measured: requests of one API format to one path of a server."""

    name: str
    server: str
    path: str
    format: str
    model: str = "mock"
    stream: bool = False  # ask for a stream where plain requests are measured
    headers: dict[str, str] = field(default_factory=dict)
    reference: bool = False  # others are compared with it
    baseline_of: str = ""  # the candidate of this revision that it is the earlier one of
    under_test: bool = False  # the targets are judged for it


@dataclass(kw_only=True)
class Target:
    """A goal for a figure, as a value or as a ratio or a difference to another candidate in the same round."""

    mode: str
    figure: str
    level: int | None = None
    ratio_to: str = ""
    minus: str = ""
    at_least: float | None = None
    at_most: float | None = None
    only: list[str] = field(default_factory=list)


@dataclass
class Definitions:
    servers: dict[str, Server]
    candidates: dict[str, Candidate]
    targets: list[Target]


def load(files: list[Path]) -> Definitions:
    """Read the files together. Raise BenchError for an unknown field, format or server."""
    servers: dict[str, dict[str, Any]] = {}
    candidates: dict[str, dict[str, Any]] = {}
    targets: list[dict[str, Any]] = []
    for file in files:
        data = tomllib.loads(file.read_text())
        for name, entry in data.get("servers", {}).items():
            servers[name] = ({} if "like" in entry else {"folder": file.resolve().parent}) | entry
        candidates |= data.get("candidates", {})
        targets += data.get("targets", [])
    try:
        found = Definitions(
            {name: Server(name=name, **_inherited(entry, servers)) for name, entry in servers.items()},
            {name: Candidate(name=name, **_inherited(entry, candidates)) for name, entry in candidates.items()},
            [Target(**target) for target in targets],
        )
    except (TypeError, KeyError) as error:
        raise BenchError(f"{', '.join(map(str, files))}: {error}") from error
    for candidate in found.candidates.values():
        if candidate.format not in FORMATS:
            raise BenchError(f"{candidate.name}: format must be one of {', '.join(FORMATS)}")
        if candidate.server not in found.servers:
            raise BenchError(f"{candidate.name}: no server is named {candidate.server}")
    return found


def _inherited(entry: dict[str, Any], entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of an entry with those of the entry that it is `like`. Tables are merged."""
    own = dict(entry)
    base = own.pop("like", None)
    if base is None:
        return own
    fields = _inherited(entries[base], entries)
    for name, value in own.items():
        fields[name] = fields[name] | value if isinstance(value, dict) and name in fields else value
    return fields


def expand(text: str, variables: Mapping[str, str], *, owner: str) -> str:
    """Replace ${name} by a variable, or by a variable of the environment."""
    try:
        return string.Template(text).substitute({**os.environ, **variables})
    except KeyError as missing:
        raise BenchError(f"{owner}: the variable {missing} is not set") from None
    except ValueError as error:  # a single dollar sign
        raise BenchError(f"{owner}: {error} (write $$ for a dollar sign)") from None
