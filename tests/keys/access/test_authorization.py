"""Authorization: allowlists of models and IP addresses, and unusable keys."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from keys.access import authorization
from keys.access.snapshots import Snapshot
from keys.errors import NotAuthenticated, NotPermitted
from lib.networks import network


def snapshot(**changes: object) -> Snapshot:
    values: dict[str, object] = {
        "key_id": 1,
        "public_id": "key_1",
        "secret_id": 1,
        "allowed_models": (),
        "is_enabled": True,
        "expires_at": None,
    }
    return Snapshot(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("allowed", "model", "expected"),
    [
        ((), "anything", True),
        (("claude-3",), "claude-3", True),
        (("claude-3",), "claude-3-opus", False),
        (("claude-*",), "claude-3-opus", True),
        (("claude-*",), "gpt-5", False),
        (("gpt-5", "claude-*"), "claude-4", True),
        (("*",), "anything", True),
        (("a*b",), "axb", False),
        (("Claude-3",), "claude-3", False),
    ],
)
def test_an_allowlist_holds_names_and_prefixes(allowed: tuple[str, ...], model: str, expected: bool) -> None:
    assert authorization.allows_model(snapshot(allowed_models=allowed), model) is expected


@pytest.mark.parametrize(
    ("own", "of_team", "named"),
    [
        pytest.param(("a", "b-*"), (), "Allowed models: a, b-*.", id="of the key"),
        pytest.param((), ("a",), "Allowed models: a.", id="of the team"),
        pytest.param(("a", "secret-of-the-key"), ("a", "c"), "Allowed models: a.", id="that both allow"),
        pytest.param(("a",), ("b",), "It has no allowed model.", id="none"),
        pytest.param(
            [f"m{i}" for i in range(23)],
            (),
            f"Allowed models: {', '.join(f'm{i}' for i in range(20))} and 3 more.",
            id="many",
        ),
    ],
)
def test_a_rejected_model_is_named_with_the_allowed_ones(own: Any, of_team: Any, named: str) -> None:
    with pytest.raises(NotPermitted) as caught:
        authorization.check_model(snapshot(allowed_models=own, team_models=of_team), "other")

    assert caught.value.message == f'API key is not allowed to use the requested model "other". {named}'


def test_the_error_cuts_a_long_model_name() -> None:
    with pytest.raises(NotPermitted) as caught:
        authorization.check_model(snapshot(allowed_models=("a",)), "x" * 10_000)

    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"is_enabled": False}, id="not enabled"),
        pytest.param({"expires_at": timezone.now() - timedelta(seconds=1)}, id="expired"),
    ],
)
def test_an_unusable_key_is_rejected(changes: dict[str, object]) -> None:
    with pytest.raises(NotAuthenticated):
        authorization.check_usable(snapshot(**changes))


@pytest.mark.parametrize(
    ("allowed", "team", "model", "expected"),
    [
        ((), ("claude-*",), "claude-3", True),
        ((), ("claude-*",), "gpt-5", False),
        (("gpt-5",), ("claude-*",), "gpt-5", False),
        (("claude-3",), ("claude-*",), "claude-4", False),
    ],
)
def test_a_key_never_exceeds_its_team(
    allowed: tuple[str, ...], team: tuple[str, ...], model: str, expected: bool
) -> None:
    assert authorization.allows_model(snapshot(allowed_models=allowed, team_models=team), model) is expected


@pytest.mark.parametrize(
    ("networks", "client_ip", "expected"),
    [
        (["192.0.2.0/24"], "192.0.2.9", True),
        (["192.0.2.0/24"], "192.0.3.1", False),
        (["192.0.2.7", "2001:db8::/32"], "2001:db8::1", True),
        (["::ffff:192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "2001:db8::1", False),
        (["192.0.2.7"], None, False),
    ],
)
def test_a_key_with_an_ip_allowlist_is_allowed_from_there_only_and_the_list_is_not_disclosed(
    networks: list[str], client_ip: str | None, expected: bool
) -> None:
    locked = snapshot(networks=tuple(map(network, networks)))
    if expected:
        authorization.check_client_ip(locked, client_ip)
        return
    with pytest.raises(NotPermitted) as caught:
        authorization.check_client_ip(locked, client_ip)
    assert not any(each in caught.value.message for each in networks)
