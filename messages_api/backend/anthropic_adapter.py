"""Adapter for upstreams with Anthropic's Messages API."""

from typing import Any, cast

from messages_api.backend.attempt import Attempt, TokenCount, UpstreamResponse
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.event_source import EventSource, open_source, read_complete
from messages_api.backend.lookup import get_json
from messages_api.backend.protocol import error_mapping, model_list, relay, wire
from messages_api.backend.protocol.betas import betas_of
from messages_api.backend.protocol.headers import upstream_headers
from messages_api.backend.protocol.history_cleanup import clean_history
from messages_api.backend.protocol.model_list import ListedModel
from messages_api.backend.protocol.usage import ReportedUsage, Usage
from messages_api.backend.protocol.whole import is_stream
from messages_api.backend.upstream_error import UpstreamError

PATH = "/messages"


def message(attempt: Attempt) -> UpstreamResponse:
    """Request a complete response. Raise UpstreamError if the attempt fails."""
    _send(attempt, PATH)
    raw = attempt.read_body()
    if is_stream(raw):
        return read_complete(attempt, raw, _decoder(attempt))
    response = attempt.decode(raw)
    usage = Usage()
    if isinstance(response, dict):
        usage = Usage.from_anthropic(response.get("usage"))
        attempt.served.read_message(response)
    attempt.reported_usage = lambda: usage
    try:
        message = relay.message_from_anthropic(response, request=attempt.request, ids=attempt.ids)
    except error_mapping.UpstreamResponseError as error:
        raise attempt.invalid(error.mapped, raw) from error
    reported_usage = ReportedUsage.of(usage, is_final=True)
    return UpstreamResponse(message=message, reported_usage=reported_usage, raw=raw if message == response else None)


def events(attempt: Attempt) -> EventSource:
    """Request a stream and wait for its first event. Raise UpstreamError if the attempt fails before it."""
    _send(attempt, PATH)
    return open_source(attempt, _decoder(attempt), keep_raw=attempt.is_anthropic_api)


def _decoder(attempt: Attempt) -> relay.AnthropicDecoder:
    return relay.AnthropicDecoder(attempt.request, input_estimate=attempt.input_estimate, ids=attempt.ids)


def count_tokens(attempt: Attempt) -> TokenCount:
    """Return the upstream's count of input tokens, or the estimate where it does not count any.

    Raise UpstreamError if it fails.
    """
    try:
        _send(attempt, PATH + "/count_tokens")
    except UpstreamError:
        if attempt.exchange.response_status not in (404, 405, 501):  # of an upstream that has no such endpoint
            raise
        return TokenCount(attempt.input_estimate, is_estimated=True)
    response = attempt.decode(attempt.read_body())
    count = response.get("input_tokens") if isinstance(response, dict) else None
    if type(count) is not int or count < 0:
        raise UpstreamError("The upstream returned no token count.")
    return TokenCount(count, is_estimated=False)


def models(endpoint: Endpoint) -> list[ListedModel]:
    """Return the models that the upstream lists. Raise UpstreamError if it lists none."""
    style, key = endpoint.profile.auth_style, endpoint.credential
    headers = upstream_headers(api_format="envelope", style=style, key=key, headers={})
    return model_list.from_anthropic(get_json(endpoint, f"/models?limit={model_list.MAX_LIMIT}", headers=headers))


def _send(attempt: Attempt, path: str) -> None:
    """Send the request. Raise UpstreamError unless the upstream responds with 200."""
    endpoint = attempt.target.endpoint
    headers = upstream_headers(
        api_format="anthropic" if attempt.is_anthropic_api else "envelope",
        style=endpoint.profile.auth_style,
        key=endpoint.credential,
        headers=attempt.client_headers,
        betas=() if attempt.is_anthropic_api else betas_of(attempt.request),
    )
    query = "?beta=true" if attempt.is_anthropic_api and attempt.is_beta else ""
    attempt.send(path + query, _body(attempt), headers=headers, map_error=error_mapping.map_anthropic_error)


def _body(attempt: Attempt) -> bytes:
    """Return the client's bytes unchanged, unless the upstream's model name differs or the history was cleaned."""
    is_changed, body = clean_history(cast(dict[str, Any], attempt.request))
    if not is_changed and attempt.target.model == attempt.request["model"]:
        return attempt.body.raw
    return wire.encode({**body, "model": attempt.target.model})
