"""Whatever requests and urllib3 raise becomes an UpstreamError, by its class."""

import inspect

import pytest
import requests
import urllib3

from messages_api.backend import upstream
from messages_api.backend.endpoint import Deadlines, Endpoint
from messages_api.backend.errors import Aborted, UpstreamError
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.upstream import Exchange
from tests.upstream import ScriptedUpstream, WaitForPeer, answered

NOT_CONNECTED = (requests.exceptions.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)
FOREIGN = [
    error
    for library in (requests.exceptions, urllib3.exceptions)
    for _, error in inspect.getmembers(library, inspect.isclass)
    if issubclass(error, Exception) and not issubclass(error, Warning) and error.__module__ == library.__name__
]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_every_error_of_the_two_libraries_is_mapped(error: type[Exception]) -> None:
    assert issubclass(error, (*upstream.FOREIGN, ValueError))

    mapped = upstream._mapped_error(error.__new__(error))

    assert (mapped.status, mapped.type) in {(502, "api_error"), (504, "timeout_error")}
    assert (mapped.status == 504) == (issubclass(error, upstream.TIMEOUTS) and not issubclass(error, NOT_CONNECTED))


def endpoint(url: str, **deadlines: float) -> Endpoint:
    return Endpoint(
        name="scripted",
        dialect="openai",
        base_url=url,
        credential="",
        profile=Profile(),
        deadlines=Deadlines(**deadlines),
    )


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
        ("http://127.0.0.1:8081/v1", "http://127.0.0.1:8081/v1/messages"),
        ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1/messages"),
        ("https://host/v1beta", "https://host/v1beta/messages"),
    ],
)
def test_the_version_is_added_where_the_base_url_has_none(base_url: str, expected: str) -> None:
    assert endpoint(base_url).url("/messages") == expected


def test_a_netrc_and_proxies_of_the_environment_change_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login thief password secret\n")
    for name, value in {"NETRC": netrc, "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    with ScriptedUpstream() as scripted:
        exchange = Exchange(endpoint(scripted.url))

        exchange.open("/chat/completions", b"{}", {"Authorization": "Bearer ours"})
        exchange.read_all()
        exchange.close()

        assert scripted.calls[0].headers["authorization"] == "Bearer ours"


def test_an_encoded_answer_is_refused() -> None:
    with ScriptedUpstream() as scripted:
        scripted.answers(answered({"a": 1}, headers=[("content-encoding", "gzip")]))
        exchange = Exchange(endpoint(scripted.url))

        with pytest.raises(UpstreamError) as caught:
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert caught.value.status == 502


def test_a_redirect_is_not_followed() -> None:
    with ScriptedUpstream() as scripted:
        scripted.answers(answered({}, status=302, headers=[("location", scripted.url + "/elsewhere")]))
        exchange = Exchange(endpoint(scripted.url))

        with pytest.raises(UpstreamError):
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert len(scripted.calls) == 1


def test_an_exchange_that_was_aborted_before_it_connected_never_sends() -> None:
    with ScriptedUpstream() as scripted:
        exchange = Exchange(endpoint(scripted.url))
        exchange.abort()

        with pytest.raises(Aborted):
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert not exchange.may_be_billed
        assert scripted.calls == []


def test_reading_keeps_the_first_byte_deadline_without_anybody_watching() -> None:
    with ScriptedUpstream() as scripted:
        scripted.answers([WaitForPeer()])
        exchange = Exchange(endpoint(scripted.url, first_byte_s=0.3))

        with pytest.raises(UpstreamError) as caught:
            exchange.open("/chat/completions", b"{}", {})
        exchange.close()

        assert caught.value.status == 504


def test_closing_twice_is_closing_once() -> None:
    with ScriptedUpstream() as scripted:
        exchange = Exchange(endpoint(scripted.url))
        exchange.open("/chat/completions", b"{}", {})

        exchange.close()
        exchange.close()
