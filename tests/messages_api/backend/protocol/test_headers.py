"""Headers for Anthropic upstreams."""

import pytest

from messages_api.backend.protocol.headers import upstream_headers

CALLER = {
    "Authorization": "Bearer CALLER",
    "X-API-KEY": "CALLER",
    "Anthropic-Version": "2026-10-21",
    "anthropic-beta": "a-1",
    "anthropic-workspace-id": "wrkspc_other",
    "anthropic-user-profile-id": "uprof_other",
    "anthropic-organization-id": "org_other",
    "anthropic-new-thing": "n",
    "x-claude-code-ide-authorization": "secret",
    "X-Claude-Code-Session-Id": "s",
    "Content-Type": "text/plain",
    "Cookie": "c=1",
    "X-Forwarded-For": "1.2.3.4",
    "Accept-Encoding": "br",
}


def test_the_anthropic_api_forwards_listed_headers_only() -> None:
    assert upstream_headers(api_format="anthropic", style="bearer", key="UP", headers=CALLER) == {
        "content-type": "application/json",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a-1",
        "x-claude-code-session-id": "s",
        "authorization": "Bearer UP",
    }


def test_the_envelope_api_forwards_no_header_and_pins_the_version() -> None:
    assert upstream_headers(api_format="envelope", style="x-api-key", key="UP", headers=CALLER) == {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "UP",
    }


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": ""}])
def test_the_version_has_a_default(headers: dict[str, str]) -> None:
    sent = upstream_headers(api_format="anthropic", style="bearer", key="", headers=headers)

    assert sent == {"content-type": "application/json", "anthropic-version": "2023-06-01"}
