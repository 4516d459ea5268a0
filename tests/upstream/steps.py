"""Steps of a script: each performs one action on the connection of a request."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from .connection import Connection
from .listener import Listener
from .reader import Reader, RequestHead
from .request_log import RecordedRequest

Framing = Literal["chunked", "close", "none"] | int
Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The context in which a script plays."""

    request: RecordedRequest
    head: RequestHead
    connection: Connection
    reader: Reader
    listener: Listener


class Step(Protocol):
    def play(self, stage: Stage) -> None: ...


Script = Callable[[RecordedRequest], Iterable[Step]]
"""The general form of a script. A generator may run forever; it ends when the peer disconnects."""


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """Send a status line and headers, including the header for the body's framing.

    An integer is a Content-Length, right or wrong. `close` ends the connection after the script; `none` adds no header.
    """

    status: int = 200
    headers: Headers = ()
    framing: Framing = "chunked"

    def play(self, stage: Stage) -> None:
        pairs = list(self.headers.items() if isinstance(self.headers, Mapping) else self.headers)
        if self.framing == "chunked":
            pairs.append(("transfer-encoding", "chunked"))
        elif self.framing == "close":
            pairs.append(("connection", "close"))
            stage.connection.persists = False
        elif isinstance(self.framing, int):
            pairs.append(("content-length", str(self.framing)))
        lines = [f"HTTP/1.1 {self.status} Scripted", *(f"{name}: {value}" for name, value in pairs)]
        stage.connection.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


@dataclasses.dataclass(frozen=True, slots=True)
class Send:
    """Send raw bytes."""

    data: bytes

    def play(self, stage: Stage) -> None:
        stage.connection.send(self.data)


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Send bytes as one chunk of a chunked body."""

    data: bytes

    def play(self, stage: Stage) -> None:
        stage.connection.send(b"%x\r\n%s\r\n" % (len(self.data), self.data))


@dataclasses.dataclass(frozen=True, slots=True)
class EndChunks:
    """Send the chunk of length zero."""

    def play(self, stage: Stage) -> None:
        stage.connection.send(b"0\r\n\r\n")


@dataclasses.dataclass(frozen=True, slots=True)
class Dribble:
    """Send raw bytes, one by one."""

    data: bytes
    per_s: float

    def play(self, stage: Stage) -> None:
        for i in range(len(self.data)):
            stage.connection.send(self.data[i : i + 1])
            stage.connection.wait(1 / self.per_s)


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Wait; the script ends if the peer disconnects meanwhile."""

    seconds: float

    def play(self, stage: Stage) -> None:
        stage.connection.wait(self.seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class WaitForPeer:
    """Wait until the peer disconnects, which ends the script."""

    def play(self, stage: Stage) -> None:
        stage.connection.wait(None)


@dataclasses.dataclass(frozen=True, slots=True)
class ReadBody:
    """Read the body of the request, in a script that responds before it."""

    def play(self, stage: Stage) -> None:
        if not stage.request.body:
            stage.request.body = stage.reader.body(stage.head)


@dataclasses.dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, which ends the script. If parts of the request are unread, the kernel sends a RST."""

    def play(self, stage: Stage) -> None:
        stage.connection.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Reset:
    """Close with a RST, which ends the script. The peer may lose the bytes sent just before."""

    def play(self, stage: Stage) -> None:
        stage.connection.reset_on_close()
        stage.connection.close()


@dataclasses.dataclass(frozen=True, slots=True)
class HalfClose:
    """Send a FIN and keep reading. The connection closes at the end of the script: `WaitForPeer` keeps it open."""

    def play(self, stage: Stage) -> None:
        stage.connection.half_close()


@dataclasses.dataclass(frozen=True, slots=True)
class RefuseConnections:
    """Reset this connection and refuse new connections for that long; open ones continue."""

    seconds: float

    def play(self, stage: Stage) -> None:
        stage.listener.refuse()
        Reset().play(stage)
        stage.listener.accept(after_s=self.seconds)


def script_of(*parts: Step | Script | Sequence[Step]) -> Script:
    """Return one script that plays the parts in order; each is a step, a list of steps or a script."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        for part in parts:
            if isinstance(part, Sequence):
                yield from part
            elif callable(part):
                yield from part(request)
            else:
                yield part

    return script
