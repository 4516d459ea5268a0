"""Requests at a constant rate, sent by a thread of their own while a test changes their API key."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from typing import Self

PATH = "/api/v1/messages"
BODY = json.dumps({"model": "m", "max_tokens": 12, "messages": [{"role": "user", "content": "Hi"}]}).encode()


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request and the status of its response."""

    port: int
    raw_key: str
    sent_at: float
    """Seconds since 1970, like `done_at`."""
    done_at: float
    status: int


class SteadyRequests:
    """Requests at a constant rate until `with` ends, by each of the given clients (port, raw key) in turn."""

    def __init__(self, clients: list[tuple[int, str]], *, per_second: float) -> None:
        self.clients = clients
        """May be replaced while requests are sent."""
        self.sent: list[SentRequest] = []
        self._per_second = per_second
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the outstanding responses."""
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def continue_for(self, seconds: float) -> None:
        time.sleep(seconds)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        begin, number, tasks = loop.time(), 0, set()
        while not self._stopping.is_set():
            tasks.add(asyncio.create_task(self._send(*self.clients[number % len(self.clients)])))
            number += 1
            await asyncio.sleep(max(0.0, begin + number / self._per_second - loop.time()))
        await asyncio.gather(*tasks)

    async def _send(self, port: int, raw_key: str) -> None:
        sent_at = time.time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {raw_key}\r\n"
        writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        response = await reader.read()
        writer.close()
        await writer.wait_closed()
        self.sent.append(SentRequest(port, raw_key, sent_at, time.time(), int(response.split(b" ", 2)[1])))
