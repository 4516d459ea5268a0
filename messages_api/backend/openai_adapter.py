"""The adapter for upstreams that speak OpenAI's Chat Completions."""

from collections.abc import Iterator
from contextlib import contextmanager

from messages_api.backend.attempt import Attempt, UpstreamResponse
from messages_api.backend.event_source import EventSource
from messages_api.backend.protocol import decoder, error_mapping, openai_request, wire
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.reported_usage import ReportedUsage
from messages_api.backend.upstream_error import UpstreamError

PATH = "/chat/completions"


def message(attempt: Attempt) -> UpstreamResponse:
    """Ask for a whole answer. Raise UpstreamError when there is none."""
    if (local := _empty_response(attempt)) is not None:
        return local
    _send(attempt)
    answer, _ = attempt.answer()
    try:
        whole = decoder.message_from_openai(answer, request=attempt.request, ids=attempt.ids)
    except error_mapping.UpstreamResponseError as error:
        raise UpstreamError.from_mapped(error.mapped, endpoint=attempt.target.endpoint) from error
    assert isinstance(answer, dict)
    return UpstreamResponse(
        message=whole, reported_usage=ReportedUsage.of(Usage.from_openai(answer.get("usage")), is_final=True)
    )


def events(attempt: Attempt) -> EventSource:
    """Ask for a stream, and wait for its first event. Raise UpstreamError until then."""
    _send(attempt)
    profile = attempt.target.endpoint.profile
    return EventSource(
        attempt.exchange,
        decoder.OpenAIDecoder(
            attempt.request,
            ids=attempt.ids,
            input_estimate=attempt.input_estimate,
            buffer_tool_calls=profile.buffer_tool_calls,
        ),
    )


def _empty_response(attempt: Attempt) -> UpstreamResponse | None:
    """The answer to a request for no tokens, which warms a cache that this upstream does not have."""
    with _unsupported_as_error():
        empty = openai_request.empty_response(attempt.request, attempt.ids)
    return None if empty is None else UpstreamResponse(message=empty, reported_usage=ReportedUsage())


def count_tokens(attempt: Attempt) -> int:
    """Estimate how many input tokens a request has: this dialect has no way to ask. Raise UpstreamError never."""
    return attempt.input_estimate


def _send(attempt: Attempt) -> None:
    """Say the request in this dialect. Raise UpstreamError when this dialect cannot, or the upstream refuses it."""
    endpoint = attempt.target.endpoint
    with _unsupported_as_error():
        openai_request.empty_response(attempt.request, attempt.ids)  # refuses a stream of no tokens
        body, attempt.dropped = openai_request.to_openai(attempt.request, endpoint.profile)
    attempt.send(
        PATH,
        wire.encode({**body, "model": attempt.target.model}),
        headers={"Authorization": f"Bearer {endpoint.credential}"} if endpoint.credential else {},
        map_error=error_mapping.map_openai_error,
    )


@contextmanager
def _unsupported_as_error() -> Iterator[None]:
    """What this dialect cannot say is the caller's to change: a 400 with the path of the field."""
    try:
        yield
    except openai_request.UnsupportedRequest as error:
        raise UpstreamError.unsupported(error.message, param=error.param) from error
