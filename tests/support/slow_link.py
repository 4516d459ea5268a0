"""A network link with a latency, in front of a server on loopback."""

import asyncio
import threading
from contextlib import suppress
from typing import Self

from tests.support.gateway import free_port


class SlowLink:
    """A port that forwards to another one. A reply takes `latency_s` longer than without the link."""

    def __init__(self, port: int, *, latency_s: float) -> None:
        self.port = free_port()
        self.latency_s = latency_s
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._listener = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._listener.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            await asyncio.gather(
                self._forward(reader, server_writer, delay=True), self._forward(server_reader, writer, delay=False)
            )
        finally:
            for each in (writer, server_writer):
                each.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delay: bool) -> None:
        while data := await reader.read(65536):
            # Later data is not held up by earlier data: this is a latency, not a limited rate.
            self._loop.call_later(self.latency_s if delay else 0, writer.write, data)
        with suppress(OSError):
            writer.close()
