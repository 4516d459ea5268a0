"""A run: start the servers, check one response of each candidate, measure all candidates in alternating rounds."""

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.load import loop
from bench.measure import machine
from bench.measure.clients import name_of_client
from bench.measure.machine import say
from bench.measure.options import Options
from bench.measure.plain import PlainMeasurement, first_response
from bench.measure.servers import Servers
from bench.measure.streams import StreamMeasurement
from bench.servers.definitions import BenchError, Candidate, Definitions
from bench.servers.procfs import resident_mb
from bench.servers.running import RunningServer


class Run:
    """The candidates and the file of results. `notes` are what the reader of the results must know."""

    def __init__(self, options: Options, definitions: Definitions, work: Path) -> None:
        self.options, self._definitions = options, definitions
        self._ends_at = time.monotonic() + options.limit_s
        self._candidates = self._chosen()
        self.servers = Servers(options, definitions, work)
        self._plain = PlainMeasurement(options, self.servers.upstream, work)
        self._streams = StreamMeasurement(options, self.servers.upstream)
        self._failed_at: dict[str, int] = {}
        self.notes: list[str] = []
        self.is_complete = True
        self.out = options.out or work / "results" / f"{datetime.now():%Y%m%d-%H%M%S}-{options.mode}.jsonl"
        self.out.parent.mkdir(parents=True, exist_ok=True)

    def _chosen(self) -> list[Candidate]:
        known = self._definitions.candidates
        if unknown := [name for name in self.options.only if name not in known]:
            raise BenchError(f"no candidate is named {', '.join(unknown)}; there are {', '.join(known)}")
        return [known[name] for name in self.options.only or known]

    def execute(self) -> None:
        """Measure everything, write the results, end all servers."""
        try:
            self._set_up()
            self._measure()
        finally:
            self.servers.stop()

    def _set_up(self) -> None:
        self.servers.start([candidate.server for candidate in self._candidates])
        for candidate in list(self._candidates):
            if reason := self._why_not(candidate):
                self.is_complete = False
                self.note(f"not measured: {candidate.name}: {reason}")
                self._candidates.remove(candidate)
        for candidate in self._candidates:
            self._plain.warm_up(candidate, self._server(candidate))
        for server in self.servers.running.values():
            server.idle_mb = resident_mb(server.pids())
        self._write(self._description())

    def _why_not(self, candidate: Candidate) -> str:
        if reason := self.servers.failures.get(candidate.server):
            return reason
        reason, problems = first_response(candidate, self._server(candidate))
        for problem in problems:
            self.note(f"{candidate.name}: plain response: {problem}")
        return reason

    def _description(self) -> dict[str, Any]:
        return {
            "description": True,
            "mode": self.options.mode,
            "date": f"{datetime.now():%Y-%m-%d %H:%M}",
            "machine": machine.describe(),
            "options": self.options.as_text(),
            "versions": self.servers.versions() | {"load": f"{name_of_client(self.options)}, {loop.NAME}"},
            "references": [c.name for c in self._candidates if c.reference],
            "under_test": [c.name for c in self._candidates if c.under_test],
            "baselines": {c.baseline_of: c.name for c in self._candidates if c.baseline_of},
            "idle_mb": {name: round(server.idle_mb, 1) for name, server in self.servers.running.items()},
            "notes": self.notes,
        }

    def _measure(self) -> None:
        for level in self.options.levels:
            for number in range(self.options.rounds):
                say(f"level {level}, round {number + 1} of {self.options.rounds}")
                for candidate in self._candidates[:: -1 if number % 2 else 1]:
                    if level > self._failed_at.get(candidate.name, level):
                        continue
                    if time.monotonic() > self._ends_at:
                        self.note("time limit reached: the rest is not measured")
                        return
                    self._measure_one(candidate, level, number)

    def _measure_one(self, candidate: Candidate, level: int, number: int) -> None:
        core, server = self.options.gateway_core, self._server(candidate)
        before = machine.fixed_work_us(core)
        if self.options.mode == "plain":
            figures = self._plain.measure(candidate, server, level)
        else:
            figures = self._streams.measure(candidate, server, level)
            for problem in figures.get("shape", []):
                self.note(f"{candidate.name}: stream: {problem}")
            if self._streams.has_failed(figures):
                self._failed_at.setdefault(candidate.name, level)
                self.note(f"{candidate.name} is below the rate or has bad streams at level {level}: no higher level")
        figures["fixed_work_us"] = round((before + machine.fixed_work_us(core)) / 2)
        self._write({"name": candidate.name, "mode": self.options.mode, "level": level, "round": number} | figures)

    def _server(self, candidate: Candidate) -> RunningServer:
        return self.servers.running[candidate.server]

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            say(text)

    def _write(self, line: dict[str, Any]) -> None:
        with open(self.out, "a") as file:
            file.write(json.dumps(line) + "\n")
