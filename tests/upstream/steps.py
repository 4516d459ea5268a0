"""What a script is made of: small values, each of which does one thing to the connection of a call."""

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
    """Where a script plays."""

    request: RecordedRequest
    head: RequestHead
    connection: Connection
    reader: Reader
    listener: Listener


class Step(Protocol):
    def play(self, stage: Stage) -> None: ...


Script = Callable[[RecordedRequest], Iterable[Step]]
"""The general form of a script. A generator may go on for ever; it ends when the peer leaves."""


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """Send a status line and headers, and the header that announces how the body is delimited.

    An integer is a Content-Length, right or wrong. `close` ends the connection after the script; `none` announces
    nothing.
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
    """Send bytes as they are."""

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
    """Send bytes as they are, one at a time."""

    data: bytes
    per_s: float

    def play(self, stage: Stage) -> None:
        for i in range(len(self.data)):
            stage.connection.send(self.data[i : i + 1])
            stage.connection.wait(1 / self.per_s)


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Be silent; the script ends when the peer leaves meanwhile."""

    seconds: float

    def play(self, stage: Stage) -> None:
        stage.connection.wait(self.seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class WaitForPeer:
    """Be silent until the peer leaves, which ends the script."""

    def play(self, stage: Stage) -> None:
        stage.connection.wait(None)


@dataclasses.dataclass(frozen=True, slots=True)
class ReadBody:
    """Read the body of the request, in a script that answers before it."""

    def play(self, stage: Stage) -> None:
        if not stage.request.body:
            stage.request.body = stage.reader.body(stage.head)


@dataclasses.dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, which ends the script. With parts of the request unread the kernel makes it a RST."""

    def play(self, stage: Stage) -> None:
        stage.connection.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Reset:
    """Close with a RST, which ends the script; the peer may lose what was sent just before."""

    def play(self, stage: Stage) -> None:
        stage.connection.reset_on_close()
        stage.connection.close()


@dataclasses.dataclass(frozen=True, slots=True)
class HalfClose:
    """Send a FIN and keep reading. The connection closes at the end of the script: `WaitForPeer` holds it open."""

    def play(self, stage: Stage) -> None:
        stage.connection.half_close()


@dataclasses.dataclass(frozen=True, slots=True)
class RefuseConnections:
    """Reset this connection and refuse new ones for that long; those already open go on."""

    seconds: float

    def play(self, stage: Stage) -> None:
        stage.listener.refuse()
        Reset().play(stage)
        stage.listener.accept(after_s=self.seconds)


def script_of(*parts: Step | Script | Sequence[Step]) -> Script:
    """Return one script that plays the parts, each a step, a list of steps or a script, in order."""

    def script(request: RecordedRequest) -> Iterable[Step]:
        for part in parts:
            if isinstance(part, Sequence):
                yield from part
            elif callable(part):
                yield from part(request)
            else:
                yield part

    return script
