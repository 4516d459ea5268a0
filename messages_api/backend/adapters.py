"""Dispatch to the adapter of an upstream's dialect."""

from typing import Protocol, cast

from messages_api.backend import anthropic_adapter, openai_adapter
from messages_api.backend.attempt import Attempt, TokenCount, UpstreamResponse
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.event_source import EventSource
from messages_api.backend.protocol.model_list import ListedModel


class Adapter(Protocol):
    """The functions that the module of each dialect has."""

    def message(self, attempt: Attempt) -> UpstreamResponse:
        """Request a complete response. Raise UpstreamError if the attempt fails."""

    def events(self, attempt: Attempt) -> EventSource:
        """Request a stream and wait for its first event. Raise UpstreamError if the attempt fails before it."""

    def count_tokens(self, attempt: Attempt) -> TokenCount:
        """Return the input tokens of the request, as counted by the upstream or estimated by the gateway."""

    def models(self, endpoint: Endpoint) -> list[ListedModel]:
        """Return the models that the upstream lists. Raise UpstreamError if it lists none."""


def message(attempt: Attempt) -> UpstreamResponse:
    return _for(attempt.target.endpoint).message(attempt)


def events(attempt: Attempt) -> EventSource:
    return _for(attempt.target.endpoint).events(attempt)


def count_tokens(attempt: Attempt) -> TokenCount:
    return _for(attempt.target.endpoint).count_tokens(attempt)


def models(endpoint: Endpoint) -> list[ListedModel]:
    return _for(endpoint).models(endpoint)


def _for(endpoint: Endpoint) -> Adapter:
    return cast(Adapter, {"anthropic": anthropic_adapter, "openai": openai_adapter}[endpoint.dialect])
