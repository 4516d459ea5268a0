"""Dispatch to the adapter of an upstream's dialect."""

from typing import Protocol, cast

from messages_api.backend import anthropic_adapter, openai_adapter
from messages_api.backend.attempt import Attempt, UpstreamResponse
from messages_api.backend.event_source import EventSource


class Adapter(Protocol):
    """The functions that the module of each dialect has."""

    def message(self, attempt: Attempt) -> UpstreamResponse:
        """Request a complete response. Raise UpstreamError if the attempt fails."""

    def events(self, attempt: Attempt) -> EventSource:
        """Request a stream and wait for its first event. Raise UpstreamError if the attempt fails before it."""

    def count_tokens(self, attempt: Attempt) -> int:
        """Return the input tokens of the request, as counted by the upstream or estimated by the gateway."""


def message(attempt: Attempt) -> UpstreamResponse:
    return _for(attempt).message(attempt)


def events(attempt: Attempt) -> EventSource:
    return _for(attempt).events(attempt)


def count_tokens(attempt: Attempt) -> int:
    return _for(attempt).count_tokens(attempt)


def _for(attempt: Attempt) -> Adapter:
    return cast(Adapter, {"anthropic": anthropic_adapter, "openai": openai_adapter}[attempt.target.endpoint.dialect])
