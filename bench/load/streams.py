"""
Streamed load: opens many streams, checks every chunk of each, prints one line of JSON.

    python -m bench.load.streams --url http://127.0.0.1:8000/api/v1/messages --format envelope \\
        --header "Authorization: Bearer ..." --streams 100 --chunks 160 --interval 50

Checked in every stream: status 200, the numbers of the chunks (lost, repeated, out of order), the end mark of the
format, a complete HTTP body. The first and the last stream are kept and checked word by word (`shape`). The server must
be, directly or not, in front of the mock upstream with the same number of chunks and interval.

Measured: time to the first chunk from before the connect, gaps between chunks, time from the upstream's write to this
client. Gaps, relay times and CPU time are of the steady window: after the ramp, before the first streams end.
"""

import argparse
import asyncio
import gc
import json
import time
from urllib.parse import urlsplit

from bench.load import loop
from bench.load.bodies import END_MARK, FORMATS, request_body
from bench.load.checks import problems_of_stream
from bench.load.statistics import percentiles
from bench.load.stream_connection import Figures, StreamConnection
from bench.servers.procfs import cpu_seconds, processes_below, resident_mb

CONNECT_TIMEOUT_S = 20


class Load:
    """All streams of a run, and what they have received together."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.figures = Figures(end_mark=END_MARK[options.format], chunks_expected=options.chunks)
        self.ok = 0
        self.problems: list[str] = []
        self.kept: list[StreamConnection] = []
        url = urlsplit(options.url)
        assert url.hostname and url.port
        self.host, self.port = url.hostname, url.port
        body = request_body(options.format, options.model, stream=True)
        head = [f"POST {url.path} HTTP/1.1", f"Host: {url.netloc}", "Content-Type: application/json"]
        head += ["Accept: text/event-stream", "Connection: close", f"Content-Length: {len(body)}", *options.header]
        self.request = "\r\n".join([*head, "", ""]).encode() + body
        self.nominal_s = options.chunks * options.interval / 1000

    async def run(self) -> dict[str, object]:
        options = self.options
        started, tasks = time.monotonic(), []
        for number in range(options.streams):
            tasks.append(asyncio.create_task(self._one(is_kept=number in (0, options.streams - 1))))
            await asyncio.sleep(max(0, started + (number + 1) * options.ramp / options.streams - time.monotonic()))
        window = await self._watch(self.nominal_s - options.ramp - 1)
        await asyncio.gather(*tasks)
        shape = {
            problem
            for stream in self.kept
            if not stream.problem
            for problem in problems_of_stream(options.format, stream.body(), options.chunks)
        }
        return {
            "streams": options.streams,
            "ok": self.ok,
            "bad": len(self.problems),
            "problems": sorted(set(self.problems))[:3],
            "shape": sorted(shape)[:3],
            "chunks": self.figures.chunks,
            **percentiles("first", self.figures.first_chunks),
            **percentiles("gap", self.figures.gaps),
            **percentiles("relay", self.figures.relays),
            **window,
        }

    async def _one(self, *, is_kept: bool) -> None:
        stream = StreamConnection(self.figures, self.request, is_kept=is_kept)
        try:
            connecting = asyncio.get_running_loop().create_connection(lambda: stream, self.host, self.port)
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
            await asyncio.wait_for(stream.finished, self.nominal_s * 4 + 30)
        except (OSError, TimeoutError) as error:
            stream.problem = stream.problem or f"{error!r} after {stream.next_number} chunks"
            stream.abort()
        if stream.problem:
            self.problems.append(stream.problem)
        else:
            self.ok += 1
        if is_kept:
            self.kept.append(stream)

    async def _watch(self, seconds: float) -> dict[str, float]:
        """Measure CPU time, memory and chunk rate of the steady window."""
        settling_s = min(0.5, seconds / 4)
        await asyncio.sleep(settling_s)
        servers, helpers = processes_below(self.options.pid), processes_below(self.options.load_pid)

        def now() -> tuple[float, float, int, float]:
            load = cpu_seconds(helpers) + time.process_time()
            return cpu_seconds(servers), load, self.figures.chunks, time.monotonic()

        before = now()
        self.figures.is_steady = True
        await asyncio.sleep(max(0.2, seconds - settling_s))
        self.figures.is_steady = False
        cpu, load, chunks, window = (b - a for a, b in zip(before, now(), strict=True))
        nominal = self.options.streams * 1000 / self.options.interval
        return {
            "chunks_per_s": round(chunks / window),
            "of_rate": round(chunks / window / nominal, 3),
            "core": round(cpu / window, 3),
            "load_core": round(load / window, 3),
            "us_per_chunk": round(cpu / max(1, chunks) * 1e6, 1),
            "memory_mb": round(resident_mb(servers), 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--header", action="append", default=[], help='"Name: value", may be repeated')
    parser.add_argument("--model", default="mock")
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--chunks", type=int, default=160, help="chunks per stream of the upstream")
    parser.add_argument("--interval", type=int, default=50, help="milliseconds between chunks of the upstream")
    parser.add_argument("--ramp", type=float, default=2.0, help="seconds in which the streams are opened")
    parser.add_argument("--pid", type=int, action="append", default=[], help="measure all processes below this one")
    parser.add_argument("--load-pid", type=int, action="append", default=[], help="the same for the upstream")
    options = parser.parse_args()
    if options.interval < 1 or options.chunks * options.interval / 1000 < options.ramp + 1.5:
        parser.error("chunks times interval must be at least 1.5 s longer than the ramp")
    gc.disable()
    print(json.dumps(loop.run(Load(options).run())), flush=True)


if __name__ == "__main__":
    main()
