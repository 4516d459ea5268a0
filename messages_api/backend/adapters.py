"""The two adapters, by the name of their dialect. Each is a module with the functions of `Adapter`."""

from typing import Protocol, cast

from messages_api.backend import anthropic, openai
from messages_api.backend.attempt import Answer, Attempt
from messages_api.backend.source import EventSource


class Adapter(Protocol):
    """Our words in, the model server's words out."""

    def message(self, attempt: Attempt) -> Answer:
        """Ask for a whole answer. Raise UpstreamError when there is none."""

    def events(self, attempt: Attempt) -> EventSource:
        """Ask for a stream, and wait for its first event. Raise UpstreamError until then."""

    def count_tokens(self, attempt: Attempt) -> int:
        """The input tokens of a request, as the upstream counts them or as we estimate them."""


def for_dialect(dialect: str) -> Adapter:
    return cast(Adapter, {"anthropic": anthropic, "openai": openai}[dialect])
