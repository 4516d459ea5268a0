"""The gateway's core: everything between the bytes of an upstream and the bytes for a client, without HTTP."""

from collections.abc import Iterator
from typing import Any, cast

from messages_api.apis import anthropic, envelope
from messages_api.backend.endpoint import Endpoint, Timeouts
from messages_api.backend.event_source import Decoder, EventSource
from messages_api.backend.exchange import Exchange
from messages_api.backend.protocol.decoder import OpenAIDecoder
from messages_api.backend.protocol.ids import Ids, tool_ids
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.relay import AnthropicDecoder
from messages_api.backend.upstream_error import UpstreamError
from tests.differential.intended import GeneratedStream

ENDPOINT = Endpoint(
    name="generated", dialect="", base_url="http://upstream", credential="-", profile=Profile(), timeouts=Timeouts()
)
FORMATS = {"anthropic": anthropic, "envelope": envelope}
INPUT_ESTIMATE = 7


class RecordedExchange(Exchange):
    """An exchange whose response has arrived, in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(ENDPOINT)
        self._arriving = iter(pieces)

    def read(self, *, wait_s: float) -> bytes | None:
        return next(self._arriving, b"")


def through_core(stream: GeneratedStream, api: str) -> list[bytes]:
    """Return what a client receives, write by write. An error before the first event is raised."""
    return list(_writes(stream, api))


def _writes(stream: GeneratedStream, api: str) -> Iterator[bytes]:
    source = EventSource(RecordedExchange(stream.pieces), _decoder(stream), keep_raw=_keeps_raw(stream, api))
    encoder = FORMATS[api].Encoder()
    batch = source.first
    while True:
        if data := encoder.feed(batch):
            yield data
        if source.is_ended:
            return
        try:
            batch = source.read(wait_s=0)
        except UpstreamError as error:
            raise AssertionError(error.message) from error


def _keeps_raw(stream: GeneratedStream, api: str) -> bool:
    return stream.dialect == "anthropic" and api == "anthropic"


def _decoder(stream: GeneratedStream) -> Decoder:
    request = cast(Any, stream.request)
    ids = Ids("5f", taken=tool_ids(request))
    kind: Any = OpenAIDecoder if stream.dialect == "openai" else AnthropicDecoder
    decoder: Decoder = kind(request, ids=ids, input_estimate=INPUT_ESTIMATE, **stream.options)
    return decoder
