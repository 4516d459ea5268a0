"""Lookups at upstreams: GET requests of the gateway itself, outside of client requests and their watcher."""

import time

from messages_api.backend.endpoint import Endpoint
from messages_api.backend.exchange import Exchange
from messages_api.backend.protocol import wire
from messages_api.backend.upstream_error import UpstreamError

LOOKUP_TIMEOUT_S = 10.0


def get_json(endpoint: Endpoint, path: str, *, headers: dict[str, str]) -> object:
    """Return the JSON value at a path. Raise UpstreamError unless the upstream sends one within LOOKUP_TIMEOUT_S."""
    exchange = Exchange(endpoint, total_expires_at=time.monotonic() + LOOKUP_TIMEOUT_S)
    try:
        exchange.open(path, None, headers)
        if exchange.response_status != 200:
            raise UpstreamError(f"The upstream responded with HTTP {exchange.response_status}.")
        return wire.decode(exchange.read_all())
    except ValueError as error:
        raise UpstreamError("The upstream's response is not JSON.") from error
    finally:
        exchange.close()
