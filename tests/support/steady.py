"""Calls at a steady pace, from a thread of its own: what callers do while somebody changes their key."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from typing import Self

PATH = "/api/v1/messages"
BODY = json.dumps({"model": "m", "max_tokens": 12, "messages": [{"role": "user", "content": "Hi"}]}).encode()


@dataclass(frozen=True, slots=True)
class Sent:
    """One call and what came back."""

    port: int
    raw_key: str
    sent_at: float
    """In seconds since 1970, as `done_at`."""
    done_at: float
    status: int


class SteadyCalls:
    """As many calls a second as asked for, in turn by each of the given (port, raw key), until `with` ends."""

    def __init__(self, callers: list[tuple[int, str]], *, per_second: float) -> None:
        self.callers = callers
        """May be replaced while it runs."""
        self.sent: list[Sent] = []
        self._per_second = per_second
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the answers that are due."""
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def go_on(self, seconds: float) -> None:
        time.sleep(seconds)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        begin, number, running = loop.time(), 0, set()
        while not self._stopping.is_set():
            running.add(asyncio.create_task(self._call(*self.callers[number % len(self.callers)])))
            number += 1
            await asyncio.sleep(max(0.0, begin + number / self._per_second - loop.time()))
        await asyncio.gather(*running)

    async def _call(self, port: int, raw_key: str) -> None:
        sent_at = time.time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {raw_key}\r\n"
        writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        self.sent.append(Sent(port, raw_key, sent_at, time.time(), int(answer.split(b" ", 2)[1])))
