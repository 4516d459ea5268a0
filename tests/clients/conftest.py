"""Fixtures of clients that have a process of their own."""

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def proxy() -> Iterator[str]:
    """The URL of a proxy that serves nothing. A test fails if a client connects to it: its traffic left the machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
