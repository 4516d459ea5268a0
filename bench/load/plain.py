"""
Plain load: connections that each send a request again as soon as the response is complete. Prints one line of JSON.

    python -m bench.load.plain --url http://127.0.0.1:8000/api/v1/messages --body FILE --connections 16 --seconds 2

Requests in flight at the end are completed, so the server has nothing to clean up. With `--keys FILE` (one key per
line), each request takes the next one as its bearer token.
"""

import argparse
import asyncio
import gc
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from bench.load.loop import run
from bench.load.statistics import percentiles

TIMEOUT_S = 60
LAST_CHUNK = b"\r\n0\r\n\r\n"


class Load:
    """The requests to send and the figures of all connections."""

    def __init__(self, url: str, body: bytes, headers: list[str], keys: list[str]) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self.host, self.port = parts.hostname, parts.port
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}", *headers]
        self._heads = [self._head(lines, [f"Authorization: Bearer {key}"]) for key in keys] or [self._head(lines, [])]
        self._bodies = body
        self._next: Iterator[bytes] = itertools.cycle(self._heads)
        self.end = 0.0
        self.latencies: list[float] = []
        self.errors: dict[str, int] = {}
        self.received_bytes = 0

    @staticmethod
    def _head(lines: list[str], more: list[str]) -> bytes:
        return "\r\n".join([*lines, *more, "", ""]).encode()

    def next_request(self) -> bytes:
        return next(self._next) + self._bodies

    def note(self, error: str) -> None:
        self.errors[error] = self.errors.get(error, 0) + 1

    async def run(self, connections: int, seconds: float, start_at: float) -> dict[str, object]:
        await asyncio.sleep(max(0.0, start_at - time.monotonic()))
        started = time.monotonic()
        self.end = started + seconds
        await asyncio.gather(*(self._connect() for _ in range(connections)))
        took = time.monotonic() - started
        count = len(self.latencies)
        return {
            "requests": count,
            "seconds": round(took, 3),
            "rps": round(count / took, 1),
            **percentiles("", self.latencies),
            "errors": sum(self.errors.values()),
            "bytes": round(self.received_bytes / max(1, count)),
            "problems": [f"{number} x {error}" for error, number in sorted(self.errors.items())][:3],
        }

    async def _connect(self) -> None:
        """Keep one connection busy; open it again when the server closes it."""
        while time.monotonic() < self.end:
            try:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(lambda: Connection(self), self.host, self.port)
                await asyncio.wait_for(connection.closed, self.end - time.monotonic() + TIMEOUT_S)
            except (OSError, TimeoutError) as error:
                self.note(repr(error))
                await asyncio.sleep(0.01)


class Connection(asyncio.Protocol):
    """Sends one request after the other. Reads heads with a length or chunked bodies."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self.load = load
        self.closed = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        self.started = time.monotonic()
        if self.started >= self.load.end:
            self.started = 0.0
            self.transport.close()
            return
        self.transport.write(self.load.next_request())

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self.buffer[:head_end].lower()
        start = head.find(b"\r\ncontent-length:")
        if start >= 0:
            is_complete = len(self.buffer) >= head_end + 4 + int(head[start + 17 :].split(b"\r\n", 1)[0])
        else:
            # Longer than the last chunk, because a header may end with a 0.
            is_complete = self.buffer.endswith(LAST_CHUNK) and len(self.buffer) >= head_end + 4 + len(LAST_CHUNK)
        if is_complete:
            self._completed(head)

    def _completed(self, head: bytes) -> None:
        load = self.load
        if head[9:10] == b"2":
            load.latencies.append(time.monotonic() - self.started)
        else:
            load.note(f"status {head[9:12].decode('latin-1')}")
        load.received_bytes += len(self.buffer)
        self.buffer, self.started = b"", 0.0
        if b"\r\nconnection: close" in head:
            self.transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.started:
            self.load.note(f"connection closed during a request ({exc})")
        if not self.closed.done():
            self.closed.set_result(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--header", action="append", default=[], help='"Name: value", may be repeated')
    parser.add_argument("--keys", type=Path, help="file with one key per line")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--start-at", type=float, default=0.0, help="time of the monotonic clock, for several clients")
    options = parser.parse_args()
    keys = options.keys.read_text().split() if options.keys else []
    load = Load(options.url, options.body.read_bytes(), options.header, keys)
    gc.disable()
    print(json.dumps(run(load.run(options.connections, options.seconds, options.start_at))), flush=True)


if __name__ == "__main__":
    main()
