"""Token counting: the input tokens of a request, without sending it to a model."""

from functools import partial

from keys.access.snapshots import Snapshot
from lib import deadlines
from lib.pace import pace
from messages_api.backend import adapters
from messages_api.backend.attempt import Attempt, TokenCount
from messages_api.backend.protocol.token_estimate import estimate
from messages_api.gateway.admission import check_models
from messages_api.gateway.attempts import Attempts
from messages_api.intake.body import RequestBody
from messages_api.intake.client import ClientInfo
from messages_api.routing.redis_circuits import circuit_breakers
from messages_api.routing.route_table import find_targets


def count_tokens(body: RequestBody, *, key: Snapshot, client: ClientInfo) -> TokenCount:
    """Return the input tokens of a request: counted by the upstream where it can, else estimated.

    Raise RequestRejected, RequestError or UpstreamError. Limits and budgets do not apply; no usage record is written.
    """
    check_models(body.request, key=key)
    targets = find_targets(body.request["model"], key=key)
    deadlines.release_connections()
    begin = partial(
        Attempt,
        body=body,
        is_anthropic_api=True,
        client_headers=client.headers,
        is_beta=client.is_beta,
        input_estimate=estimate(body.request, step=pace()),
    )
    # A count says nothing about messages: it neither opens nor closes a circuit, and is no probe.
    attempts = Attempts(
        targets,
        circuit_breakers=circuit_breakers,
        key_id=key.key_id,
        request_id=client.request_id,
        begin=begin,
        is_evidence=False,
    )
    try:
        return attempts.run(adapters.count_tokens)
    finally:
        attempts.close()
