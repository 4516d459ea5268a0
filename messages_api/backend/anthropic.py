"""The adapter for upstreams that speak Anthropic's Messages API."""

from messages_api.backend.attempt import Answer, Attempt
from messages_api.backend.errors import UpstreamError
from messages_api.backend.figures import Figures
from messages_api.backend.protocol import failures, relay, wire
from messages_api.backend.protocol.headers import upstream_headers
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.source import EventSource

PATH = "/messages"


def message(attempt: Attempt) -> Answer:
    """Ask for a whole answer. Raise UpstreamError when there is none."""
    _send(attempt)
    try:
        whole = relay.message_from_anthropic(attempt.answer(), request=attempt.request)
    except failures.ProtocolFailure as error:
        raise UpstreamError.from_failure(error.failure) from error
    return Answer(message=whole, figures=Figures.of(Usage.from_anthropic(whole["usage"]), is_final=True))


def events(attempt: Attempt) -> EventSource:
    """Ask for a stream, and wait for its first event. Raise UpstreamError until then."""
    _send(attempt)
    return EventSource(attempt.exchange, relay.AnthropicDecoder(attempt.request))


def _send(attempt: Attempt) -> None:
    """Send the request as it reads. Raise UpstreamError when the upstream refuses it."""
    endpoint = attempt.target.endpoint
    headers = upstream_headers(
        lane="native" if attempt.is_native else "envelope",
        style=endpoint.profile.auth_style,
        key=endpoint.credential,
        headers=attempt.caller_headers,
    )
    body = {**attempt.request, "model": attempt.target.model}
    attempt.send(PATH, wire.encode(body), headers=headers, failure_from=failures.failure_from_anthropic)
