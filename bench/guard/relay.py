"""
The floor of the guard: a relay that does the same kinds of work as the gateway, each once, and never changes.

    python bench/guard/relay.py PORT UPSTREAM_PORT DATABASE

It parses the head and the JSON of a request, computes an HMAC, forwards the request over a pooled connection, parses
the response, commits a row to SQLite and encodes a response. It uses only the standard library, so that packages do
not change its speed. `baseline.json` has the digest of this file: after a change of it, measure the ratios again.
"""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import sys
import time

PEPPER = b"benchmark-only-benchmark-only-benchmark"
TABLE = """CREATE TABLE IF NOT EXISTS request (
    id INTEGER PRIMARY KEY, digest BLOB, model TEXT, input INTEGER, output INTEGER, created_at TEXT)"""


class Relay:
    """The pooled connections to the upstream, and the database."""

    def __init__(self, upstream_port: int, database: str) -> None:
        self.upstream_port = upstream_port
        self.pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.database = sqlite3.connect(database, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=NORMAL")
        self.database.execute(TABLE)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the requests of one connection until the client closes it."""
        try:
            while True:
                headers, body = await self._message(reader)
                response = await self._respond(headers, body)
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(response)}\r\n\r\n"
                writer.write(head.encode() + response)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @staticmethod
    async def _message(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        return headers, await reader.readexactly(int(headers.get("content-length", "0")))

    async def _respond(self, headers: dict[str, str], body: bytes) -> bytes:
        digest = hmac.digest(PEPPER, headers.get("authorization", "").encode(), hashlib.sha256)
        request = json.loads(body) if body else {"model": "", "messages": []}
        message = json.loads(await self._forward(json.dumps(request).encode()))
        usage = message["usage"]
        row = (digest, request["model"], usage["input_tokens"], usage["output_tokens"], time.strftime("%FT%T"))
        self.database.execute("INSERT INTO request VALUES (NULL, ?, ?, ?, ?, ?)", row)
        return json.dumps({"success": True, "code": "200", "message": "", "data": message}).encode()

    async def _forward(self, body: bytes) -> bytes:
        if self.pool:
            reader, writer = self.pool.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        head = f"POST /v1/messages HTTP/1.1\r\nhost: upstream\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        _, response = await self._message(reader)
        self.pool.append((reader, writer))
        return response


async def main() -> None:
    port, upstream_port, database = sys.argv[1:]
    relay = Relay(int(upstream_port), database)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", int(port), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
