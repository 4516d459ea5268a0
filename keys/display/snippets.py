"""Code snippets that send a request with an API key, ready to paste."""

import json
import shlex
from dataclasses import dataclass

from keys.domain import raw_key

EXAMPLE_MODEL = "claude-3-opus-20240229"
SOME_MODEL = "NAME_OF_A_MODEL"
PLACEHOLDER = f"{raw_key.PREFIX}YOUR_KEY"


@dataclass(frozen=True, slots=True)
class Snippet:
    label: str
    text: str


def snippets(raw: str, *, origin: str, model: str) -> list[Snippet]:
    """Return the snippets for a raw key. `origin` is the scheme and host in the browser of the admin."""
    base_url = f"{origin}/api/anthropic"
    return [
        Snippet("Environment file (.env)", f"ANTHROPIC_BASE_URL={base_url}\nANTHROPIC_API_KEY={raw}"),
        Snippet("curl", _curl(f"{origin}/api/v1/messages", raw=raw, model=model)),
        Snippet("curl, streamed", _curl(f"{origin}/api/v1/messages", raw=raw, model=model, stream=True)),
        Snippet(
            "curl, Anthropic API",
            _curl(f"{base_url}/v1/messages", raw=raw, model=model, version="anthropic-version: 2023-06-01"),
        ),
        Snippet("Python SDK", _PYTHON % tuple(map(json.dumps, (base_url, raw, model)))),
        Snippet("JavaScript or TypeScript SDK", _TYPESCRIPT % tuple(map(json.dumps, (base_url, raw, model)))),
        Snippet("Claude Code", f"export ANTHROPIC_BASE_URL={shlex.quote(base_url)}\nexport ANTHROPIC_AUTH_TOKEN={raw}"),
        Snippet("Claude Code (~/.claude/settings.json)", claude_code_settings(raw, base_url=base_url)),
    ]


def claude_code_settings(raw: str, *, base_url: str) -> str:
    """Return the settings of Claude Code, with the model list of the gateway in its model picker."""
    variables = {
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_AUTH_TOKEN": raw,
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
    }
    return json.dumps({"env": variables}, indent=2)


def _curl(url: str, *, raw: str, model: str, stream: bool = False, version: str = "") -> str:
    body = {"model": model, "max_tokens": 64} | ({"stream": True} if stream else {})
    body["messages"] = [{"role": "user", "content": "Hello"}]
    parts = [
        f"curl {'-N ' if stream else ''}{shlex.quote(url)}",
        f"-H {shlex.quote(f'Authorization: Bearer {raw}')}",
        *([f"-H {shlex.quote(version)}"] if version else []),
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(json.dumps(body))}",
    ]
    return " \\\n  ".join(parts)


_PYTHON = """from anthropic import Anthropic

client = Anthropic(
    base_url=%s,
    api_key=%s,
)
message = client.messages.create(
    model=%s,
    max_tokens=64,
    messages=[{"role": "user", "content": "Hello"}],
)
print(message.content[0].text)"""

_TYPESCRIPT = """import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: %s,
  apiKey: %s,
});
const message = await client.messages.create({
  model: %s,
  max_tokens: 64,
  messages: [{ role: "user", content: "Hello" }],
});
console.log(message.content);"""
