import pytest

from messages_api.backend.protocol.headers import CredentialConflict, credential, upstream_headers


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        pytest.param({"AUTHORIZATION": "bEARER  K1 "}, "K1", id="any case"),
        pytest.param({"X-Api-Key": " K2 "}, "K2", id="x-api-key"),
        pytest.param({"authorization": "Bearer K1", "x-api-key": "K1"}, "K1", id="the same key twice"),
        pytest.param({"authorization": "Basic K1", "x-api-key": "K2"}, "K2", id="another scheme beside it"),
        pytest.param({"authorization": "Bearer ", "x-api-key": "K2"}, "K2", id="an empty bearer"),
        pytest.param({"authorization": "Bearer K1", "x-api-key": ""}, "K1", id="an empty x-api-key"),
        pytest.param({"authorization": "BearerK1"}, None, id="no space"),
        pytest.param({"authorization": "Bearer"}, None, id="no key"),
        pytest.param({"x-api-key": " "}, None, id="a blank key"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_a_credential_is_found_in_either_header(headers: dict[str, str], key: str | None) -> None:
    assert credential(headers) == key


def test_two_different_keys_are_a_conflict() -> None:
    with pytest.raises(CredentialConflict):
        credential({"Authorization": "Bearer K1", "x-api-key": "K2"})


CALLER = {
    "Authorization": "Bearer CALLER",
    "X-API-KEY": "CALLER",
    "Anthropic-Version": "2026-10-21",
    "anthropic-beta": "a-1",
    "anthropic-new-thing": "n",
    "X-Claude-Code-Session-Id": "s",
    "Content-Type": "text/plain",
    "Cookie": "c=1",
    "X-Forwarded-For": "1.2.3.4",
    "Accept-Encoding": "br",
}


def test_the_native_lane_forwards_what_is_anthropics() -> None:
    assert upstream_headers(lane="native", style="bearer", key="UP", headers=CALLER) == {
        "content-type": "application/json",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a-1",
        "anthropic-new-thing": "n",
        "x-claude-code-session-id": "s",
        "authorization": "Bearer UP",
    }


def test_the_envelope_lane_forwards_nothing_and_pins_the_version() -> None:
    assert upstream_headers(lane="envelope", style="x-api-key", key="UP", headers=CALLER) == {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "UP",
    }


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": ""}])
def test_the_version_has_a_default(headers: dict[str, str]) -> None:
    sent = upstream_headers(lane="native", style="bearer", key="", headers=headers)

    assert sent == {"content-type": "application/json", "anthropic-version": "2023-06-01"}
