"""The adapter for upstreams that speak OpenAI's Chat Completions."""

from collections.abc import Iterator
from contextlib import contextmanager

from messages_api.backend.attempt import Answer, Attempt
from messages_api.backend.event_source import EventSource
from messages_api.backend.protocol import decoder, error_mapping, openai_request, wire
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.reported_usage import ReportedUsage
from messages_api.backend.upstream_error import UpstreamError

PATH = "/chat/completions"


def message(attempt: Attempt) -> Answer:
    """Ask for a whole answer. Raise UpstreamError when there is none."""
    if (local := _local_answer(attempt)) is not None:
        return local
    _send(attempt)
    answer, _ = attempt.answer()
    try:
        whole = decoder.message_from_openai(answer, request=attempt.request, ids=attempt.ids)
    except error_mapping.ProtocolFailure as error:
        raise UpstreamError.from_failure(error.failure, endpoint=attempt.target.endpoint) from error
    assert isinstance(answer, dict)
    return Answer(message=whole, figures=ReportedUsage.of(Usage.from_openai(answer.get("usage")), is_final=True))


def events(attempt: Attempt) -> EventSource:
    """Ask for a stream, and wait for its first event. Raise UpstreamError until then."""
    _send(attempt)
    profile = attempt.target.endpoint.profile
    return EventSource(
        attempt.exchange,
        decoder.StreamDecoder(
            attempt.request,
            ids=attempt.ids,
            input_estimate=attempt.input_estimate,
            whole_calls=profile.whole_calls,
        ),
    )


def _local_answer(attempt: Attempt) -> Answer | None:
    """The answer to a request for no tokens, which warms a cache that this upstream does not have."""
    with _refusals():
        empty = openai_request.local_answer(attempt.request, attempt.ids)
    return None if empty is None else Answer(message=empty, figures=ReportedUsage())


def count_tokens(attempt: Attempt) -> int:
    """Estimate how many input tokens a request has: this dialect has no way to ask. Raise UpstreamError never."""
    return attempt.input_estimate


def _send(attempt: Attempt) -> None:
    """Say the request in this dialect. Raise UpstreamError when this dialect cannot, or the upstream refuses it."""
    endpoint = attempt.target.endpoint
    with _refusals():
        openai_request.local_answer(attempt.request, attempt.ids)  # refuses a stream of no tokens
        body, attempt.dropped = openai_request.to_openai(attempt.request, endpoint.profile)
    attempt.send(
        PATH,
        wire.encode({**body, "model": attempt.target.model}),
        headers={"Authorization": f"Bearer {endpoint.credential}"} if endpoint.credential else {},
        failure_from=error_mapping.failure_from_openai,
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """What this dialect cannot say is the caller's to change: a 400 with the path of the field."""
    try:
        yield
    except openai_request.UnsupportedRequest as error:
        raise UpstreamError.refused(error.message, param=error.param) from error
