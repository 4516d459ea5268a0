"""The adapter for upstreams that speak Anthropic's Messages API."""

from typing import Any, cast

from messages_api.backend.attempt import Answer, Attempt
from messages_api.backend.event_source import EventSource
from messages_api.backend.protocol import error_mapping, relay, wire
from messages_api.backend.protocol.headers import upstream_headers
from messages_api.backend.protocol.history_cleanup import repair_for_anthropic
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.reported_usage import ReportedUsage
from messages_api.backend.upstream_error import UpstreamError

PATH = "/messages"


def message(attempt: Attempt) -> Answer:
    """Ask for a whole answer. Raise UpstreamError when there is none."""
    _send(attempt, PATH)
    answer, raw = attempt.answer()
    try:
        whole = relay.message_from_anthropic(answer, request=attempt.request)
    except error_mapping.ProtocolFailure as error:
        raise UpstreamError.from_failure(error.failure, endpoint=attempt.target.endpoint) from error
    assert isinstance(answer, dict)
    figures = ReportedUsage.of(Usage.from_anthropic(answer.get("usage")), is_final=True)
    return Answer(message=whole, figures=figures, raw=raw if whole == answer else None)


def events(attempt: Attempt) -> EventSource:
    """Ask for a stream, and wait for its first event. Raise UpstreamError until then."""
    _send(attempt, PATH)
    decoder = relay.AnthropicDecoder(attempt.request, input_estimate=attempt.input_estimate)
    return EventSource(attempt.exchange, decoder, keeps_bytes=attempt.is_native)


def count_tokens(attempt: Attempt) -> int:
    """Ask how many input tokens a request has. Raise UpstreamError when it is not told."""
    _send(attempt, PATH + "/count_tokens")
    answer, _ = attempt.answer()
    count = answer.get("input_tokens") if isinstance(answer, dict) else None
    if type(count) is not int or count < 0:
        raise UpstreamError("The upstream did not count the tokens.")
    return count


def _send(attempt: Attempt, path: str) -> None:
    """Send the request as it reads. Raise UpstreamError when the upstream refuses it."""
    endpoint = attempt.target.endpoint
    headers = upstream_headers(
        api_format="anthropic" if attempt.is_native else "envelope",
        style=endpoint.profile.auth_style,
        key=endpoint.credential,
        headers=attempt.caller_headers,
    )
    query = "?beta=true" if attempt.is_native and attempt.is_beta else ""
    attempt.send(path + query, _body(attempt), headers=headers, failure_from=error_mapping.failure_from_anthropic)


def _body(attempt: Attempt) -> bytes:
    """The bytes as they came, unless the model has another name there or the history has traces of other upstreams."""
    has_traces, body = repair_for_anthropic(cast(dict[str, Any], attempt.request))
    if not has_traces and attempt.target.model == attempt.request["model"]:
        return attempt.body.raw
    return wire.encode({**body, "model": attempt.target.model})
