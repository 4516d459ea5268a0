"""The agent SDK with the CLI that it bundles, configured with base URL and key only."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keys.models import APIKey, Budget
from tests import clients
from tests.support.gateway import Gateway
from tests.upstream import Reply, ToolCall, replied

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


class Agent:
    """The SDK's `query` at a gateway, with a tool that runs in this process."""

    def __init__(self, gateway: Gateway, folder: Path, *, proxy: str) -> None:
        # Loaded here, as it takes a second that a run of other tests should not pay.
        import claude_agent_sdk as sdk

        self.sdk = sdk
        self.cities: list[str] = []
        self.environment = {
            "HOME": str(folder),
            "CLAUDE_CONFIG_DIR": str(folder / "config"),
            "ANTHROPIC_BASE_URL": f"{gateway.url}/api/anthropic",
            "ANTHROPIC_AUTH_TOKEN": gateway.raw_key,
            "CLAUDE_CODE_MAX_RETRIES": "0",
            **clients.offline(proxy),
        }
        self.folder = folder / "project"
        self.folder.mkdir()

    def ask(self, prompt: str, **environment: str) -> list[Any]:
        """Return the messages of a session with one prompt."""
        options = self.sdk.ClaudeAgentOptions(
            model="claude-sonnet-4-5",
            cwd=self.folder,
            env=self.environment | environment,
            mcp_servers={"weather": self.sdk.create_sdk_mcp_server("weather", tools=[self._weather_tool()])},
            allowed_tools=["mcp__weather__get_weather"],
            setting_sources=[],
        )

        async def collect() -> list[Any]:
            messages: AsyncIterator[Any] = self.sdk.query(prompt=prompt, options=options)
            return [message async for message in messages]

        return asyncio.run(asyncio.wait_for(collect(), timeout=90))

    def _weather_tool(self) -> Any:
        @self.sdk.tool("get_weather", "The weather in a city.", {"city": str})
        async def get_weather(arguments: dict[str, Any]) -> dict[str, Any]:
            self.cities.append(arguments["city"])
            return {"content": [{"type": "text", "text": f"sunny in {arguments['city']}"}]}

        return get_weather


@pytest.fixture
def agent(gateway: Gateway, tmp_path: Path, proxy: str) -> Agent:
    return Agent(gateway, tmp_path, proxy=proxy)


@both_dialects
def test_a_text_turn(gateway: Gateway, agent: Agent, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    result = agent.ask("Hi")[-1]

    assert (result.result, result.is_error, result.usage["output_tokens"]) == ("Hello, world!", False, 12)
    assert gateway.record().status == "completed"


@both_dialects
def test_a_tool_turn(gateway: Gateway, agent: Agent, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    call = ToolCall(name="mcp__weather__get_weather", arguments='{"city": "Paris"}')
    gateway.upstream.queue(replied(Reply(("Let me look.",), tool_calls=[call], stop="tools")))

    result = agent.ask("How is the weather in Paris?")[-1]

    assert (result.result, agent.cities) == ("Hello, world!", ["Paris"])
    assert "sunny in Paris" in json.dumps(gateway.upstream.requests[-1].body["messages"][-1])


def test_a_rejected_key(agent: Agent) -> None:
    with pytest.raises(agent.sdk.ResultError, match="401 The API key is not valid"):
        agent.ask("Hi", ANTHROPIC_AUTH_TOKEN="mgw_wrong")


def test_a_spent_budget(gateway: Gateway, agent: Agent) -> None:
    Budget.objects.create(api_key=gateway.key, amount=1, unit="tokens", period="month")

    with pytest.raises(agent.sdk.ResultError, match="402 Budget exceeded: 1 tokens remaining of the monthly budget"):
        agent.ask("Hi")

    assert gateway.upstream.requests == []


def test_a_rate_limit(gateway: Gateway, agent: Agent) -> None:
    APIKey.objects.filter(pk=gateway.key.pk).update(requests_per_minute=1)
    agent.ask("Hi")

    with pytest.raises(agent.sdk.ResultError, match="Rate limit exceeded: 1 request per minute for this API key"):
        agent.ask("Hi")
