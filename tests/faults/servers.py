"""Upstreams of a run: scripted ones, with good and bad certificates, and unreachable ones."""

import contextlib
import socket
from collections.abc import Iterator

from tests.upstream import ScriptedUpstream
from tests.upstream.certificate_kinds import KINDS
from tests.upstream.certificates import Authority


class Servers:
    """The URLs of a run and the requests that arrived. Use `started` in a `with` statement."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.scripted = ScriptedUpstream()
        self._secure = {f"tls-{kind}": ScriptedUpstream(tls=self.authority.context(kind)) for kind in KINDS}
        self._refusing = ScriptedUpstream()
        self._full_port = 0

    @contextlib.contextmanager
    def started(self) -> Iterator["Servers"]:
        with contextlib.ExitStack() as stack:
            for upstream in self.upstreams:
                stack.enter_context(upstream)
            self._refusing.refuse()
            self._full_port = stack.enter_context(full_listener())
            yield self

    @property
    def upstreams(self) -> list[ScriptedUpstream]:
        return [self.scripted, *self._secure.values(), self._refusing]

    def url(self, server: str) -> str:
        if server == "no-such-host":
            return "http://nowhere.invalid"  # a reserved name that never resolves (RFC 6761)
        if server == "full":
            return f"http://127.0.0.1:{self._full_port}"
        return {"scripted": self.scripted, "refusing": self._refusing, **self._secure}[server].url


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """Yield a port whose queue is full: the kernel drops further SYNs, and connecting clients wait."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        yield int(listener.getsockname()[1])
