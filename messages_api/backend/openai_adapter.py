"""Adapter for upstreams with OpenAI's Chat Completions API."""

from collections.abc import Iterator
from contextlib import contextmanager

from lib.derived_key import derived_key
from lib.pace import pace
from messages_api.backend.attempt import Attempt, TokenCount, UpstreamResponse
from messages_api.backend.endpoint import Endpoint
from messages_api.backend.event_source import EventSource, open_source, read_complete
from messages_api.backend.lookup import get_json
from messages_api.backend.protocol import completion, decoder, error_mapping, model_list, openai_request, wire
from messages_api.backend.protocol.model_list import ListedModel
from messages_api.backend.protocol.openai_counts import find_usage
from messages_api.backend.protocol.thinking_signature import ThinkingSigner
from messages_api.backend.protocol.usage import ReportedUsage, Usage
from messages_api.backend.protocol.whole import is_stream
from messages_api.backend.upstream_error import UpstreamError

PATH = "/chat/completions"


def message(attempt: Attempt) -> UpstreamResponse:
    """Request a complete response. Raise UpstreamError if the attempt fails."""
    if (empty := _empty_response(attempt)) is not None:
        return empty
    _send(attempt)
    raw = attempt.read_body()
    if is_stream(raw):
        return read_complete(attempt, raw, _decoder(attempt))
    response = attempt.decode(raw)
    usage = Usage()
    if isinstance(response, dict):
        found = find_usage(response)
        usage = Usage.from_openai(found)
        attempt.served.read_chunk(response)
        attempt.served.read_usage(found)
    attempt.reported_usage = lambda: usage
    try:
        message = completion.message_from_openai(
            response, request=attempt.request, ids=attempt.ids, signer=_signer(attempt)
        )
    except error_mapping.UpstreamResponseError as error:
        raise attempt.invalid(error.mapped, raw) from error
    return UpstreamResponse(message=message, reported_usage=ReportedUsage.of(usage, is_final=True))


def events(attempt: Attempt) -> EventSource:
    """Request a stream and wait for its first event. Raise UpstreamError if the attempt fails before it."""
    _send(attempt)
    return open_source(attempt, _decoder(attempt))


def _decoder(attempt: Attempt) -> decoder.OpenAIDecoder:
    return decoder.OpenAIDecoder(
        attempt.request,
        ids=attempt.ids,
        input_estimate=attempt.input_estimate,
        buffer_tool_calls=attempt.target.endpoint.profile.buffer_tool_calls,
        signer=_signer(attempt),
    )


def _signer(attempt: Attempt) -> ThinkingSigner | None:
    """Return the signer of thinking for clients of the Anthropic API, which drop thinking without a signature."""
    return ThinkingSigner(derived_key("thinking")) if attempt.is_anthropic_api else None


def count_tokens(attempt: Attempt) -> TokenCount:
    """Return the estimated input tokens: this dialect has no endpoint for it. Never raise UpstreamError."""
    return TokenCount(attempt.input_estimate, is_estimated=True)


def models(endpoint: Endpoint) -> list[ListedModel]:
    """Return the models that the upstream lists. Raise UpstreamError if it lists none."""
    return model_list.from_openai(get_json(endpoint, "/models", headers=_credential(endpoint)))


def _credential(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.credential}"} if endpoint.credential else {}


def _empty_response(attempt: Attempt) -> UpstreamResponse | None:
    """Return the response to `max_tokens: 0`, which warms a cache that this upstream does not have; else None."""
    with _unsupported_as_error():
        empty = openai_request.empty_response(attempt.request, attempt.ids)
    return None if empty is None else UpstreamResponse(message=empty, reported_usage=ReportedUsage())


def _send(attempt: Attempt) -> None:
    """Translate and send the request. Raise UpstreamError if it is unsupported or the upstream rejects it."""
    endpoint = attempt.target.endpoint
    with _unsupported_as_error():
        openai_request.empty_response(attempt.request, attempt.ids)  # raises for a stream with `max_tokens: 0`
        body, attempt.dropped = openai_request.to_openai(
            attempt.request, endpoint.profile, step=pace(), signer=ThinkingSigner(derived_key("thinking"))
        )
    attempt.send(
        PATH,
        wire.encode({**body, "model": attempt.target.model}),
        headers=_credential(endpoint),
        map_error=error_mapping.map_openai_error,
    )


@contextmanager
def _unsupported_as_error() -> Iterator[None]:
    """Turn UnsupportedRequest into a 400 with the path of the field: the client can change the request."""
    try:
        yield
    except openai_request.UnsupportedRequest as error:
        raise UpstreamError.unsupported(error.message, param=error.param) from error
