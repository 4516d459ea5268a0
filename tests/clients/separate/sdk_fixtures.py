"""Fixtures of the official SDK's own tests: its clients, at the gateway of `GATEWAY_URL`.

They replace those of the SDK's `conftest.py`, whose clients have the key and the URL of a mock server.
"""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic, DefaultAioHttpClient

AT_GATEWAY: dict[str, Any] = {
    "base_url": os.environ["GATEWAY_URL"],
    "api_key": os.environ["GATEWAY_KEY"],
    "max_retries": 0,
}


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Iterator[Anthropic]:
    """A client; the test's parameter says whether it validates responses strictly."""
    with Anthropic(**AT_GATEWAY, _strict_response_validation=getattr(request, "param", True)) as client:
        yield client


@pytest.fixture(scope="session")
async def async_client(request: pytest.FixtureRequest) -> AsyncIterator[AsyncAnthropic]:
    param = getattr(request, "param", True)
    options = {"strict": param} if isinstance(param, bool) else param
    http_client = DefaultAioHttpClient() if options.get("http_client") == "aiohttp" else None
    async with AsyncAnthropic(
        **AT_GATEWAY, _strict_response_validation=options.get("strict", True), http_client=http_client
    ) as client:
        yield client
