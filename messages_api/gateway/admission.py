"""
Admission control: authorize, check limits, route and budgets, then create the usage record.

The order decides which error a client receives first: key and allowlists (403), rate limits (429), route (404),
budgets (402), ledger (503). A rejected request has a usage record as well.
"""

from collections.abc import Sequence

from django.utils import timezone

from keys.access.snapshots import Snapshot
from keys.budgets.reservations import ReservationRequest, reservation_requests
from keys.errors import LedgerUnavailable, RequestRejected, Unpriced
from keys.limits import limiter
from keys.pricing.price_book import prices
from keys.usage import ledger
from keys.usage.rows import Admission
from lib import deadlines
from lib.pace import pace
from messages_api.backend.endpoint import Target
from messages_api.backend.protocol.token_estimate import measure, output_limit
from messages_api.errors import RequestError
from messages_api.gateway.access import check_client_ip, check_models
from messages_api.intake.body import RequestBody
from messages_api.intake.client import ClientInfo
from messages_api.routing.route_table import find_targets, is_routed, refresh_deadline
from messages_api.watcher import watcher

LIMITS_LEASE_S = 24 * 3600.0  # longer than any request: the lease frees a slot that was lost all the same
RESTARTING = "The gateway is restarting. Retry shortly."


class AdmissionControl:
    """Admission of one request. The limits and budgets that it takes are settled or released with the request."""

    def __init__(self, body: RequestBody, *, key: Snapshot, client: ClientInfo, api_format: str) -> None:
        self._size = measure(body.request, step=pace())
        self.input_estimate = self._size.input_tokens
        self.grant = limiter.LimitGrant(request_id=client.request_id)
        """The limits that the request has taken."""
        self._body = body
        self._key = key
        self._client = client
        self._api_format = api_format

    def admit(self) -> tuple[list[Target], Admission]:
        """Return the targets in the order of attempts and the admission in the ledger.

        Raise RequestRejected or RequestError, and take nothing.
        """
        _check_open()
        try:
            return self._admit()
        except BaseException:
            limiter.release(self.grant)
            raise

    def _admit(self) -> tuple[list[Target], Admission]:
        model = self._body.request["model"]
        try:
            check_client_ip(self._key, self._client.ip_address)
            check_models(self._body.request, key=self._key)
            self.grant = limiter.consume(self._client.request_id, self._key.limits, lease_s=LIMITS_LEASE_S)
            limiter.consume_tokens(self.grant, tokens=self.input_estimate + output_limit(self._body.request))
            targets, needed = self._price(find_targets(model, key=self._key))
        except (RequestRejected, RequestError) as error:
            exceeded = error.limit_exceeded if isinstance(error, RequestRejected) else None
            ledger.reject(
                self._record(),
                http_status=error.status,
                error_type=error.type,
                limit_exceeded=exceeded,
                is_model_known=is_routed(model),
            )
            raise
        finally:
            deadlines.release_connections()
        longest_s = max(target.endpoint.timeouts.request_timeout_s for target in targets)
        admission = self._record(lease_s=ledger.lease_s(longest_s), reservation_requests=needed, first=targets[0])
        ledger.admit(admission)
        return targets, admission

    def _price(self, targets: list[Target]) -> tuple[list[Target], list[ReservationRequest]]:
        """Return the targets that the key's budgets can pay for, and the amounts to reserve. Raise Unpriced if none."""
        with refresh_deadline(prices.last):
            book = prices.book()
        now = timezone.now()
        if not self._key.budgets:
            return targets, []
        found = [(target, book.find(target.model, upstream=target.endpoint.name, at=now)) for target in targets]
        if any(budget.unit == "usd" for budget in self._key.budgets):
            found = [(target, price) for target, price in found if price is not None]
            if not found:
                raise Unpriced
        needed = reservation_requests(
            self._key.budgets,
            input_tokens=self.input_estimate,
            max_tokens=output_limit(self._body.request),
            prices=[price for _, price in found],
            may_write_cache=self._size.writes_cache,
        )
        return [target for target, _ in found], needed

    def _record(
        self,
        *,
        lease_s: float = 0,
        reservation_requests: Sequence[ReservationRequest] = (),
        first: Target | None = None,
    ) -> Admission:
        return Admission(
            id=self._client.request_id,
            api_key_id=self._key.key_id,
            secret_id=self._key.secret_id,
            api_format=self._api_format,
            model=self._body.request["model"],
            streamed=self._body.request.get("stream", False),
            estimated_input_tokens=self.input_estimate,
            lease_s=lease_s,
            upstream=first.endpoint.name if first else "",
            upstream_model=first.model if first else "",
            client_ip=self._client.ip_address,
            client_request_id=self._client.client_request_id,
            user_agent=self._client.user_agent,
            reservation_requests=reservation_requests,
            limit_exceeded=self.grant.shadow_exceeded,
        )


def _check_open() -> None:
    """Raise RequestError while the process shuts down, LedgerUnavailable while no usage record can be written."""
    if watcher.is_draining:
        raise RequestError(RESTARTING, status=503, type="overloaded_error", headers={"Retry-After": "1"})
    if ledger.is_unavailable():
        raise LedgerUnavailable
