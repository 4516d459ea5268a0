"""The two adapters, by the name of their dialect. Each is a module with the functions of `Adapter`."""

from typing import Protocol, cast

from messages_api.backend import anthropic_adapter, openai_adapter
from messages_api.backend.attempt import Attempt, UpstreamResponse
from messages_api.backend.event_source import EventSource


class Adapter(Protocol):
    """Our words in, the model server's words out."""

    def message(self, attempt: Attempt) -> UpstreamResponse:
        """Ask for a whole answer. Raise UpstreamError when there is none."""

    def events(self, attempt: Attempt) -> EventSource:
        """Ask for a stream, and wait for its first event. Raise UpstreamError until then."""

    def count_tokens(self, attempt: Attempt) -> int:
        """The input tokens of a request, as the upstream counts them or as we estimate them."""


def message(attempt: Attempt) -> UpstreamResponse:
    return _for(attempt).message(attempt)


def events(attempt: Attempt) -> EventSource:
    return _for(attempt).events(attempt)


def count_tokens(attempt: Attempt) -> int:
    return _for(attempt).count_tokens(attempt)


def _for(attempt: Attempt) -> Adapter:
    return cast(Adapter, {"anthropic": anthropic_adapter, "openai": openai_adapter}[attempt.target.endpoint.dialect])
