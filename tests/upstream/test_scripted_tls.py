"""TLS of the scripted upstream, with trusted and untrusted certificates."""

import ssl
import urllib.error
import urllib.request

import pytest

from tests.support.gateway import wait_until
from tests.upstream import FaultProxy, Reply, ScriptedUpstream, openai_stream, replied
from tests.upstream.certificate_kinds import KINDS
from tests.upstream.certificates import Authority

BODY = b'{"model": "m", "stream": true}'


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def read(url: str, *, trusting: Authority) -> bytes:
    context = ssl.create_default_context(cadata=trusting.pem)
    with urllib.request.urlopen(f"{url}/v1/chat/completions", BODY, timeout=5, context=context) as response:
        return bytes(response.read())


def test_a_good_certificate_gives_the_same_bytes(authority: Authority) -> None:
    reply = Reply(["x" * 300_000] * 3)
    with ScriptedUpstream(tls=authority.context("good")) as upstream:
        upstream.queue(replied(reply))

        response = read(upstream.url, trusting=authority)

        assert upstream.url.startswith("https://")
        assert response == b"".join(openai_stream(reply, model="m", include_usage=False))
        assert upstream.failed_handshakes == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "good"])
def test_any_other_is_rejected_before_a_request_is_sent(kind: str, authority: Authority) -> None:
    with ScriptedUpstream(tls=authority.context(kind)) as upstream:
        with pytest.raises(urllib.error.URLError) as caught:
            read(upstream.url, trusting=authority)

        assert isinstance(caught.value.reason, ssl.SSLError)
        wait_until(lambda: upstream.failed_handshakes == 1)
        assert upstream.requests == []


def test_a_peer_without_tls_is_disconnected() -> None:
    with ScriptedUpstream(tls=Authority().context()) as upstream:
        with pytest.raises(OSError):
            urllib.request.urlopen(upstream.url.replace("https", "http"), BODY, timeout=5)

        wait_until(lambda: upstream.failed_handshakes == 1 and not upstream.open_connections)


def test_the_fault_proxy_forwards_tls(authority: Authority) -> None:
    with (
        ScriptedUpstream(tls=authority.context()) as upstream,
        FaultProxy(("127.0.0.1", upstream.port)) as proxy,
    ):
        proxy.towards_client.slice_bytes = 7

        response = read(proxy.url.replace("http:", "https:"), trusting=authority)

        assert response.endswith(b"data: [DONE]\n\n")
