"""What stands behind the gateway in this run: the scripted upstream, the same with bad certificates, and nobody."""

import contextlib
import socket
from collections.abc import Iterator

from tests.upstream import ScriptedUpstream
from tests.upstream.certificate_kinds import KINDS
from tests.upstream.certificates import Authority


class Servers:
    """The addresses of a run, and the calls that arrived. `start` in a `with`."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.scripted = ScriptedUpstream()
        self._secure = {f"tls-{kind}": ScriptedUpstream(tls=self.authority.context(kind)) for kind in KINDS}
        self._nowhere = ScriptedUpstream()
        self._full_port = 0

    @contextlib.contextmanager
    def started(self) -> Iterator["Servers"]:
        with contextlib.ExitStack() as stack:
            for upstream in self.upstreams:
                stack.enter_context(upstream)
            self._nowhere.refuse()
            self._full_port = stack.enter_context(full_listener())
            yield self

    @property
    def upstreams(self) -> list[ScriptedUpstream]:
        return [self.scripted, *self._secure.values(), self._nowhere]

    def url(self, server: str) -> str:
        if server == "no-such-host":
            return "http://nowhere.invalid"  # a name that nobody may ever have (RFC 6761)
        if server == "full":
            return f"http://127.0.0.1:{self._full_port}"
        return {"scripted": self.scripted, "nowhere": self._nowhere, **self._secure}[server].url


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """A port whose queue is full: the kernel drops every further SYN, and whoever connects waits."""
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
