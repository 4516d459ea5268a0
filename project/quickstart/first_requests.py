"""First two requests through the gateway, over HTTP like those of any client."""

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
class Client:
    """A client of the gateway. Every failure is a CannotStart with the response."""

    url: str
    raw_key: str = field(repr=False)
    model: str

    def send(self, question: str) -> str:
        """Return the complete response text."""
        with self._open(question, stream=False) as response:
            return str(json.load(response)["data"]["choices"][0]["message"]["content"])

    def stream(self, question: str) -> Iterator[str]:
        """Yield the response text as it arrives."""
        with self._open(question, stream=True) as response:
            for line in response:
                if line.startswith(DONE):
                    return
                if line.startswith(b"data: "):
                    yield _content(json.loads(line.removeprefix(b"data: ")))
        raise CannotStart("The stream ended without [DONE].")

    def _open(self, question: str, *, stream: bool) -> http.client.HTTPResponse:
        http_request = urllib.request.Request(
            self.url + PATH,
            json.dumps(request_body(question, model=self.model, stream=stream)).encode(),
            {"Authorization": f"Bearer {self.raw_key}", "Content-Type": "application/json"},
        )
        try:
            response: http.client.HTTPResponse = opener.open(http_request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise CannotStart(f"A request through the gateway failed: {_reason(error)}") from error
        except OSError as error:
            raise CannotStart(f"A request through the gateway failed: {error}") from error
        return response


def request_body(question: str, *, model: str, stream: bool) -> dict[str, Any]:
    """Return the request body for a question."""
    head = {"model": model, "max_tokens": MAX_TOKENS, **({"stream": True} if stream else {})}
    return {**head, "messages": [{"role": "user", "content": question}]}


def _content(chunk: dict[str, Any]) -> str:
    if "error" in chunk:
        raise CannotStart(f"The stream failed: {chunk['error'].get('message')}")
    return chunk["choices"][0]["delta"].get("content") or "" if chunk["choices"] else ""


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the status and the message of the envelope, or the HTTP reason if a proxy replaced the body."""
    try:
        message = json.load(error)["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    return f"{error.code} {message}"
