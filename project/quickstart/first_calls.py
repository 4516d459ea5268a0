"""The first two calls through the gateway, over real HTTP, as any caller would send them."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from project.quickstart.errors import CannotStart
from project.quickstart.local_http import opener

PATH = "/api/v1/messages"
TIMEOUT_S = 180.0
MAX_TOKENS = 64
PLAIN_QUESTION = "Say hello."
STREAMED_QUESTION = "Write one sentence about the sea."
DONE = b"data: [DONE]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Somebody who calls the gateway at `url` with a key. Every failure is a CannotStart that says what came back."""

    url: str
    raw_key: str = field(repr=False)
    model: str

    def ask(self, question: str) -> str:
        """The whole answer."""
        with self._send(question, stream=False) as response:
            return str(json.load(response)["data"]["choices"][0]["message"]["content"])

    def ask_streamed(self, question: str) -> Iterator[str]:
        """The answer piece by piece, as it arrives."""
        with self._send(question, stream=True) as response:
            for line in response:
                if line.startswith(DONE):
                    return
                if line.startswith(b"data: "):
                    yield _content(json.loads(line.removeprefix(b"data: ")))
        raise CannotStart("The streamed call ended without [DONE].")

    def _send(self, question: str, *, stream: bool) -> http.client.HTTPResponse:
        http_request = urllib.request.Request(
            self.url + PATH,
            json.dumps(request(question, model=self.model, stream=stream)).encode(),
            {"Authorization": f"Bearer {self.raw_key}", "Content-Type": "application/json"},
        )
        try:
            response: http.client.HTTPResponse = opener.open(http_request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise CannotStart(f"A call through the gateway failed: {_refusal(error)}") from error
        except OSError as error:
            raise CannotStart(f"A call through the gateway failed: {error}") from error
        return response


def request(question: str, *, model: str, stream: bool) -> dict[str, Any]:
    """The question as the gateway takes it."""
    head = {"model": model, "max_tokens": MAX_TOKENS, **({"stream": True} if stream else {})}
    return {**head, "messages": [{"role": "user", "content": question}]}


def _content(chunk: dict[str, Any]) -> str:
    if "error" in chunk:
        raise CannotStart(f"The streamed call broke off: {chunk['error'].get('message')}")
    return chunk["choices"][0]["delta"].get("content") or "" if chunk["choices"] else ""


def _refusal(error: urllib.error.HTTPError) -> str:
    """The status with the sentence of the envelope. The body is ours, but a proxy's page may stand in its place."""
    try:
        message = json.load(error)["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    return f"{error.code} {message}"
