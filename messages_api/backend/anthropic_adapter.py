"""The adapter for upstreams that speak Anthropic's Messages API."""

from typing import Any, cast

from messages_api.backend.attempt import Attempt, UpstreamResponse
from messages_api.backend.event_source import EventSource
from messages_api.backend.protocol import error_mapping, relay, wire
from messages_api.backend.protocol.headers import upstream_headers
from messages_api.backend.protocol.history_cleanup import clean_history
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.reported_usage import ReportedUsage
from messages_api.backend.upstream_error import UpstreamError

PATH = "/messages"


def message(attempt: Attempt) -> UpstreamResponse:
    """Ask for a whole answer. Raise UpstreamError when there is none."""
    _send(attempt, PATH)
    answer, raw = attempt.answer()
    try:
        whole = relay.message_from_anthropic(answer, request=attempt.request)
    except error_mapping.UpstreamResponseError as error:
        raise UpstreamError.from_mapped(error.mapped, endpoint=attempt.target.endpoint) from error
    assert isinstance(answer, dict)
    reported_usage = ReportedUsage.of(Usage.from_anthropic(answer.get("usage")), is_final=True)
    return UpstreamResponse(message=whole, reported_usage=reported_usage, raw=raw if whole == answer else None)


def events(attempt: Attempt) -> EventSource:
    """Ask for a stream, and wait for its first event. Raise UpstreamError until then."""
    _send(attempt, PATH)
    decoder = relay.AnthropicDecoder(attempt.request, input_estimate=attempt.input_estimate)
    return EventSource(attempt.exchange, decoder, keep_raw=attempt.is_anthropic_api)


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
        api_format="anthropic" if attempt.is_anthropic_api else "envelope",
        style=endpoint.profile.auth_style,
        key=endpoint.credential,
        headers=attempt.client_headers,
    )
    query = "?beta=true" if attempt.is_anthropic_api and attempt.is_beta else ""
    attempt.send(path + query, _body(attempt), headers=headers, map_error=error_mapping.map_anthropic_error)


def _body(attempt: Attempt) -> bytes:
    """The bytes as they came, unless the model has another name there or the history has traces of other upstreams."""
    has_traces, body = clean_history(cast(dict[str, Any], attempt.request))
    if not has_traces and attempt.target.model == attempt.request["model"]:
        return attempt.body.raw
    return wire.encode({**body, "model": attempt.target.model})
