"""TCP proxy between a client and an upstream that adds connection faults, configurable at run time."""

import dataclasses
import socket
import threading
import time

from .connection import Connection, PeerDisconnected, Stopped
from .listener import Listener

_CLOSE_WITHIN_S = 5.0
_POLL_S = 0.02


@dataclasses.dataclass(kw_only=True)
class Faults:
    """Faults of one direction. A change applies immediately to all connections."""

    latency_s: float = 0.0
    """The delay of each piece."""
    bytes_per_s: float = 0.0
    """The bandwidth of each connection; 0 is no limit."""
    slice_bytes: int = 0
    """The size of the pieces that bytes are split into, each in its own packet; 0 does not split."""
    reset_after_bytes: int | None = None
    """Send a RST to both sides after this number of bytes."""
    half_close_after_bytes: int | None = None
    """Send a FIN to the receiving side after this number of bytes, and no more data."""
    blackhole: bool = False
    """Delay all data, including the FIN, while this is set."""


class _Reset(Exception):
    """The connection must be reset on both sides."""


@dataclasses.dataclass(kw_only=True)
class _Link:
    """A client's connection and the proxy's connection to the target."""

    client: Connection
    upstream: Connection
    is_reset: bool = False

    def reset(self) -> None:
        """Reset both connections and wake both threads.

        A close would not wake the other thread. Shutting down the read side does, and sends nothing.
        """
        self.is_reset = True
        for connection in (self.client, self.upstream):
            connection.reset_on_close()
            connection.interrupt(socket.SHUT_RD)


class FaultProxy:
    """Forward connections to a target; the target is (host, port)."""

    def __init__(self, target: tuple[str, int], *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.towards_upstream = Faults()
        self.towards_client = Faults()
        self._target = target
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, _Link] = {}
        self._listener = Listener((host, port), take=self._take, stopping=self._stopping)

    def __enter__(self) -> "FaultProxy":
        self._listener.accept()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        host, port = self._listener.address
        return f"http://{host}:{port}"

    @property
    def port(self) -> int:
        return self._listener.address[1]

    def close(self) -> None:
        """Close all connections and wait for all threads."""
        self._stopping.set()
        self._listener.close()
        with self._lock:
            running = dict(self._threads)
        deadline = time.monotonic() + _CLOSE_WITHIN_S
        for link in running.values():
            link.client.interrupt()
            link.upstream.interrupt()
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _take(self, sock: socket.socket) -> None:
        try:
            onward = socket.create_connection(self._target, timeout=5)
        except OSError:
            sock.close()
            return
        link = _Link(
            client=Connection(sock, stopping=self._stopping),
            upstream=Connection(onward, stopping=self._stopping),
        )
        thread = threading.Thread(target=self._forward, args=(link,), daemon=True, name="proxy")
        with self._lock:
            self._threads[thread] = link
        thread.start()

    def _forward(self, link: _Link) -> None:
        back = threading.Thread(
            target=self._pump,
            args=(link, link.upstream, link.client, self.towards_client),
            daemon=True,
            name="proxy-back",
        )
        back.start()
        self._pump(link, link.client, link.upstream, self.towards_upstream)
        back.join()
        link.client.close()
        link.upstream.close()
        with self._lock:
            del self._threads[threading.current_thread()]

    def _pump(self, link: _Link, source: Connection, sink: Connection, faults: Faults) -> None:
        """Forward bytes until the source ends, and then the FIN."""
        passed = 0
        try:
            while data := source.receive():
                for piece in _pieces(data, faults):
                    self._delay(len(piece), faults)
                    sink.send(_up_to_the_limit(piece, passed, faults))
                    passed += len(piece)
                    _end_at_the_limit(sink, passed, faults)
            self._delay(0, faults)
            if not link.is_reset:
                sink.half_close()
        except (PeerDisconnected, _Reset):
            link.reset()
        except Stopped:
            pass

    def _delay(self, size: int, faults: Faults) -> None:
        self._stopping.wait(faults.latency_s)
        if faults.bytes_per_s:
            self._stopping.wait(size / faults.bytes_per_s)
        while faults.blackhole and not self._stopping.wait(_POLL_S):
            pass


def _pieces(data: bytes, faults: Faults) -> list[bytes]:
    size = faults.slice_bytes or len(data)
    if faults.bytes_per_s:
        # A tenth of a second of data, so that a slow connection is steady and not bursty.
        size = min(size, max(1, int(faults.bytes_per_s / 10)))
    return [data[i : i + size] for i in range(0, len(data), size)]


def _up_to_the_limit(piece: bytes, passed: int, faults: Faults) -> bytes:
    limits = [limit for limit in (faults.reset_after_bytes, faults.half_close_after_bytes) if limit is not None]
    return piece[: max(0, min(limits) - passed)] if limits else piece


def _end_at_the_limit(sink: Connection, passed: int, faults: Faults) -> None:
    if faults.reset_after_bytes is not None and passed >= faults.reset_after_bytes:
        raise _Reset
    if faults.half_close_after_bytes is not None and passed >= faults.half_close_after_bytes:
        sink.half_close()
