"""Turns of pydantic-ai and LiteLLM at the gateway of `GATEWAY_URL`. Prints what they return, as JSON."""

import asyncio
import json
import os
import sys
from typing import Any

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def pydantic_ai() -> dict[str, Any]:
    from anthropic import AsyncAnthropic
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0)
    model = AnthropicModel("claude-3", provider=AnthropicProvider(anthropic_client=client))
    cities: list[str] = []
    agent = Agent(model)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city."""
        cities.append(city)
        return f"sunny in {city}"

    async def run() -> dict[str, Any]:
        plain = (await agent.run("How is the weather in Paris?")).output
        async with Agent(model).run_stream("Hi") as stream:
            streamed = [text async for text in stream.stream_text(delta=True, debounce_by=None)]
        return {"tool": plain, "cities": cities, "stream": "".join(streamed)}

    return asyncio.run(run())


def litellm() -> dict[str, Any]:
    from litellm import completion

    options: dict[str, Any] = {"model": "anthropic/claude-3", "api_base": URL, "api_key": KEY, "max_tokens": 64}
    question = {"role": "user", "content": "How is the weather in Paris?"}
    asked = completion(messages=[question], tools=[WEATHER], **options).choices[0].message
    (call,) = asked.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny in Paris"}
    told = completion(messages=[question, asked.model_dump(), result], tools=[WEATHER], **options)
    stream = completion(messages=[{"role": "user", "content": "Hi"}], stream=True, **options)
    return {
        "cities": [json.loads(call.function.arguments)["city"]],
        "tool": told.choices[0].message.content,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in stream),
    }


if __name__ == "__main__":
    print(json.dumps({"pydantic-ai": pydantic_ai, "litellm": litellm}[sys.argv[1]]()))
