"""One stream of the load, checked while it arrives."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import cast

STAMP = re.compile(rb"(\d+):(\d{6,}) ")  # the text of a chunk: sequence number and microseconds
TAIL_BYTES = 48  # kept from a read, so that nothing that is split over two reads is missed


@dataclass
class Figures:
    """What all streams of a run have measured, in seconds."""

    end_mark: bytes
    chunks_expected: int
    is_steady: bool = False
    chunks: int = 0
    first_chunks: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    relays: list[float] = field(default_factory=list)


class StreamConnection(asyncio.Protocol):
    """A connection with one streamed request."""

    transport: asyncio.Transport | None = None

    def __init__(self, figures: Figures, request: bytes, *, is_kept: bool) -> None:
        self.figures = figures
        self.request = request
        self.kept = bytearray() if is_kept else None
        self.tail = b""
        self.head: bytes | None = None
        self.next_number = 0
        self.last_at: float | None = None
        self.has_end_mark = False
        self.is_complete = False
        self.problem = ""
        self.started = time.monotonic()
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self.kept is not None:
            self.kept += data
        buffer = self.tail + data
        if self.head is None and not self._read_head(buffer):
            self.tail = buffer
            return
        seen = self._read_chunks(buffer, now)
        if self.figures.end_mark in buffer:
            self.has_end_mark = True
        self.tail = buffer[max(seen, len(buffer) - TAIL_BYTES) :]
        if self.tail.endswith(b"\r\n0\r\n\r\n") and b"chunked" in (self.head or b""):
            self.is_complete = True
            if self.transport:
                self.transport.close()

    def _read_head(self, buffer: bytes) -> bool:
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.head = buffer[:end].lower()
        if self.head[9:12] != b"200":
            self.problem = "status " + buffer[9:200].decode("latin-1")
            self.abort()
        return True

    def _read_chunks(self, buffer: bytes, now: float) -> int:
        """Check and time the chunks in a read. Return where the last one ends."""
        figures, seen = self.figures, 0
        for stamp in STAMP.finditer(buffer):
            seen = stamp.end()
            number = int(stamp[1])
            if number != self.next_number:
                self.problem = self.problem or f"chunk {number} instead of {self.next_number}"
            self.next_number = number + 1
            figures.chunks += 1
            if self.last_at is None:
                figures.first_chunks.append(now - self.started)
            elif figures.is_steady:
                figures.gaps.append(now - self.last_at)
            if figures.is_steady:
                figures.relays.append(now - int(stamp[2]) / 1e6)
            self.last_at = now
        return seen

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.problem = self.problem or self._problem_at_end(exc)
        if not self.finished.done():
            self.finished.set_result(None)

    def _problem_at_end(self, exc: Exception | None) -> str:
        if not self.has_end_mark:
            return f"ended after {self.next_number} chunks without the end mark ({exc})"
        if self.next_number != self.figures.chunks_expected:
            return f"end mark after {self.next_number} chunks"
        if b"chunked" in (self.head or b"") and not self.is_complete:
            return "end mark, but the HTTP body is incomplete"
        return ""

    def body(self) -> bytes:
        """Return the kept body without HTTP's chunked encoding."""
        raw = bytes(self.kept or b"").partition(b"\r\n\r\n")[2]
        if b"chunked" not in (self.head or b""):
            return raw
        parts = []
        while raw:
            size, _, raw = raw.partition(b"\r\n")
            length = int(size.split(b";")[0] or b"0", 16)
            parts.append(raw[:length])
            raw = raw[length + 2 :]
        return b"".join(parts)
