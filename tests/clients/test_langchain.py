"""LangChain's Anthropic model through the Anthropic API, configured with base URL and key only."""

from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.upstream import Reply, ToolCall, replied

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def chat(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Loaded here, as it takes seconds that a run of other tests should not pay.
    from langchain_anthropic import ChatAnthropic

    monkeypatch.setenv("LANGSMITH_TRACING", "false")  # a developer's setting would send the conversation there
    fields: dict[str, Any] = {
        "model": "claude-3",
        "max_tokens": 64,
        "max_retries": 0,
        "anthropic_api_url": f"{gateway.url}/api/anthropic",
        "anthropic_api_key": gateway.raw_key,
    }
    return ChatAnthropic(**fields)


@both_dialects
def test_it_chats(gateway: Gateway, chat: Any, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    response = chat.invoke([("system", "Be friendly."), ("user", "Hi")])

    assert response.text == "Hello, world!"
    assert response.response_metadata["stop_reason"] == "end_turn"
    assert (response.usage_metadata["input_tokens"], response.usage_metadata["output_tokens"]) == (9, 12)
    assert gateway.record().api_format == "anthropic"


@both_dialects
def test_it_streams(gateway: Gateway, chat: Any, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    chunks = list(chat.stream("Hi"))

    assert [chunk.text for chunk in chunks if chunk.text] == ["Hello", ", ", "world!"]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.response_metadata["stop_reason"] == "end_turn"
    assert whole.usage_metadata["output_tokens"] == 12
    assert gateway.record().status == "completed"


@both_dialects
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_it_calls_a_tool(gateway: Gateway, chat: Any, dialect: str, stream: bool) -> None:
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool

    gateway.configure_upstream(dialect)
    weather = tool(get_weather)
    calls = [ToolCall(id="call_1", arguments='{"city": "Paris"}'), ToolCall(id="call_2", arguments='{"city": "Rome"}')]
    gateway.upstream.queue(replied(Reply(("Let me look.",), tool_calls=calls, stop="tools")))
    model = chat.bind_tools([weather])
    turns: list[Any] = [HumanMessage("How is the weather in Paris and Rome?")]

    if stream:
        first, *rest = model.stream(turns)
        turns.append(sum(rest, first))
    else:
        turns.append(model.invoke(turns))
    turns += [weather.invoke(call) for call in turns[-1].tool_calls]
    response = model.invoke(turns)

    assert [turn.content for turn in turns[2:]] == ["sunny in Paris", "sunny in Rome"]
    assert response.text == "Hello, world!"
    assert "sunny in Rome" in str(gateway.upstream.requests[-1].body["messages"][-1])
