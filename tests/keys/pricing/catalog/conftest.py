"""Fixtures of price updates: upstreams with models, and the command."""

import io
from collections.abc import Callable

import pytest
from django.core.management import call_command

from keys.pricing.catalog import proposals
from keys.pricing.catalog.proposals import PriceReview, Proposal
from messages_api.models import Route, RouteTarget, Upstream

BASE_URLS = {
    "anthropic": ("https://api.anthropic.com", "anthropic"),
    "openai": ("https://api.openai.com/v1", "openai"),
    "eu": ("https://eu.api.openai.com/v1", "openai"),
    "deepseek": ("https://api.deepseek.com", "openai"),
    "google": ("https://generativelanguage.googleapis.com/v1beta/openai", "openai"),
    "local": ("http://127.0.0.1:9/v1", "openai"),
}

UseModel = Callable[..., Upstream]
Sync = Callable[..., str]


@pytest.fixture
def use_model(db: None) -> UseModel:
    """Return a function that routes a model to the upstream of a provider."""

    def use(name: str, model: str) -> Upstream:
        base_url, dialect = BASE_URLS[name]
        upstream, _ = Upstream.objects.get_or_create(name=name, defaults={"base_url": base_url, "dialect": dialect})
        route, _ = Route.objects.get_or_create(pattern=model)
        RouteTarget.objects.create(route=route, upstream=upstream)
        return upstream

    return use


@pytest.fixture
def sync(db: None) -> Sync:
    """Return a function that runs `sync_prices` and returns its output."""

    def run(*arguments: str) -> str:
        stdout = io.StringIO()
        call_command("sync_prices", *arguments, stdout=stdout)
        return stdout.getvalue()

    return run


@pytest.fixture
def review(sync: Sync) -> Callable[..., PriceReview]:
    """Return a function that returns the review of `sync_prices --json`, as the page receives it."""
    return lambda *arguments: proposals.decode(sync("--json", *arguments).encode())


def only(review: PriceReview) -> Proposal:
    [proposal] = review.proposals
    return proposal
