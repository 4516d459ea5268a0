"""Validation of upstreams and routes, and the targets of a model."""

import pytest
from django.core.exceptions import ValidationError

from messages_api.backend.protocol.profile import Profile
from messages_api.models import Route, RouteTarget, Upstream
from messages_api.models.base_url import check_base_url
from messages_api.models.presets import PRESETS
from messages_api.routing.route_table import routes
from tests.support.gateway import targets_of

GOOD = [
    "https://api.anthropic.com",
    "http://127.0.0.1:8081/v1",
    "http://vllm.internal:8000",
    "https://[::1]:8443/v1",
    "http://[fd12:3456::1]:8081/v1",
    "https://[64:ff9b::5db8:d822]/",
]
BAD = [
    "ftp://host",
    "//host",
    "https://user:password@host",
    "https://host/?q=1",
    "https://host/#part",
    "https://host\\@169.254.169.254/",
    "https://ho st",
    "https://host\n",
    "https://hóst",
    "http://169.254.169.254/latest",
    "http://2852039166/",
    "http://0xa9.254.43518/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/",
    "http://[fe80::a9fe:a9fe%eth0]/",
    "https://[febf::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    "https://[::169.254.169.254]/",
    "https://[::ffff:0:169.254.169.254]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[64:ff9b:1::a9fe:a9fe]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2001:0:a9fe:a9fe::1]/",
    "https://100.100.100.200/",
    "https://192.0.0.192/",
    "http://93.184.216.34/",
    "https://host:port",
    "https://",
    "",
]


@pytest.mark.parametrize("url", GOOD)
def test_base_urls_are_accepted(url: str) -> None:
    check_base_url(url)


@pytest.mark.parametrize("url", BAD)
def test_invalid_base_urls_are_rejected(url: str) -> None:
    with pytest.raises(ValidationError):
        check_base_url(url)


@pytest.fixture
def stored(db: None) -> Upstream:
    upstream = Upstream(name="provider", dialect="openai", base_url="https://provider.example/v1")
    upstream.set_credential("the credential")
    upstream.save()
    return upstream


def test_a_credential_is_stored_encrypted_and_decrypted(stored: Upstream) -> None:
    upstream = Upstream.objects.get()

    assert "the credential" not in str(Upstream.objects.values())
    assert upstream.endpoint().credential == "the credential"
    assert "the credential" not in repr(upstream.endpoint())


def test_a_changed_base_url_has_no_credential(stored: Upstream) -> None:
    Upstream.objects.update(base_url="https://thief.example/v1")

    upstream = Upstream.objects.get()
    assert upstream.endpoint().credential == ""
    assert not upstream.has_usable_credential()


def test_a_credential_that_was_copied_to_another_row_does_not_decrypt(stored: Upstream) -> None:
    copy = Upstream.objects.create(
        name="copy", dialect="openai", base_url=stored.base_url, credential_ciphertext=stored.credential_ciphertext
    )

    assert not copy.has_usable_credential()


def test_an_older_encryption_key_still_decrypts(stored: Upstream, settings: object) -> None:
    from cryptography.fernet import Fernet

    settings.CREDENTIAL_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.CREDENTIAL_ENCRYPTION_KEYS]  # type: ignore[attr-defined]

    assert Upstream.objects.get().has_usable_credential()


def add_route(pattern: str, upstream: Upstream, **fields: object) -> None:
    route, _ = Route.objects.get_or_create(pattern=pattern)
    RouteTarget.objects.create(route=route, upstream=upstream, **fields)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3", "exact"),
        ("claude-4", "longer"),
        ("clown", "prefix"),
        ("gpt-5", "gpt-5"),
        ("claude-*", "longer"),
    ],
)
def test_an_exact_name_wins_then_the_longest_prefix_then_the_star(stored: Upstream, model: str, expected: str) -> None:
    add_route("*", stored)
    add_route("cl*", stored, model="prefix")
    add_route("claude-*", stored, model="longer")
    add_route("claude-3", stored, model="exact")

    (target,) = targets_of(model)

    assert target.model == expected


def test_targets_are_ordered_by_priority_without_disabled_upstreams(stored: Upstream) -> None:
    other = Upstream.objects.create(name="other", dialect="openai", base_url="https://other.example", enabled=False)
    add_route("m", stored, model="second", priority=2)
    add_route("m", stored, model="first", priority=1)
    add_route("m", other, priority=0)

    assert [target.model for target in targets_of("m")] == ["first", "second"]


def test_a_model_without_a_route_has_no_target_and_only_own_routes_have_names(stored: Upstream) -> None:
    add_route("b", stored)
    add_route("a", stored)
    add_route("c-*", stored)
    Route.objects.create(pattern="without-targets")

    assert targets_of("other") == []
    assert routes.table().names() == ["a", "b"]


@pytest.mark.parametrize("profile_preset", PRESETS)
def test_every_preset_is_a_profile(db: None, profile_preset: str) -> None:
    upstream = Upstream(name="x", dialect="openai", base_url="https://x.example", profile_preset=profile_preset)

    upstream.full_clean(exclude=["uid"])

    assert isinstance(upstream.endpoint().profile, Profile)


def test_an_override_changes_one_field_of_the_preset() -> None:
    upstream = Upstream(name="x", dialect="openai", base_url="https://x.example", profile_preset="openai")
    upstream.profile_overrides = {"max_stop": 2}

    profile = upstream.endpoint().profile

    assert (profile.max_stop, profile.max_tokens_field) == (2, "max_completion_tokens")


@pytest.mark.parametrize("profile_overrides", [{"no_such_field": 1}, {"max_stop": "four"}, ["max_stop"]])
def test_an_invalid_override_is_rejected_in_the_form_and_ignored_in_a_request(
    profile_overrides: object,
) -> None:
    upstream = Upstream(
        name="x",
        dialect="openai",
        base_url="https://x.example",
        profile_preset="openai",
        profile_overrides=profile_overrides,
    )

    with pytest.raises(ValidationError):
        upstream.clean()
    assert upstream.endpoint().profile.max_stop == 4
