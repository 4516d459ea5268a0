"""
Admission control: authorize, check limits, route and budgets, then create the usage record.

The order decides which error a client receives first, and what a rejected request costs the gateway. Before the body is
read: IP allowlist (403), requests per minute and concurrency (429), bodies in flight (429, 503). After it: the body
itself (400), models (403), tokens per minute (429), route (404), budgets (402), ledger (503).

A rejected request has a usage record as well. Before the body is read, its model is not known: the record has none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from keys.access import authorization
from keys.access.snapshots import Snapshot
from keys.budgets.reservations import ReservationRequest, reservation_requests
from keys.errors import LedgerUnavailable, RequestRejected
from keys.limits import limiter
from keys.pricing.price_book import prices
from keys.usage import ledger
from keys.usage.names import bounded_tags
from keys.usage.rows import Admission
from lib import deadlines
from lib.pace import pace
from messages_api.backend.endpoint import Target
from messages_api.backend.protocol.token_estimate import Size, measure, output_limit
from messages_api.errors import RequestError
from messages_api.gateway.cost_bounds import CostBounds
from messages_api.gateway.served_columns import asked_columns
from messages_api.intake import body
from messages_api.intake.bodies_in_flight import HeldBody, bodies
from messages_api.intake.body import RequestBody
from messages_api.intake.client import ClientInfo, session_in
from messages_api.intake.named_models import named_models
from messages_api.routing.redis_circuits import circuit_breakers
from messages_api.routing.route_table import find_targets, is_routed, refresh_deadline
from messages_api.watcher import watcher

LIMITS_LEASE_S = 24 * 3600.0  # longer than any request: the lease frees a slot that was lost all the same
RESTARTING = "The gateway is restarting. Retry shortly."


class AdmissionControl:
    """Admission of one request. The limits and budgets that it takes are settled or released with the request."""

    def __init__(self, *, key: Snapshot, client: ClientInfo, api_format: str) -> None:
        self.key = key
        self.client = client
        self.api_format = api_format
        self.grant = limiter.LimitGrant(request_id=client.request_id)
        """The limits that the request has taken."""
        self._body: RequestBody | None = None
        self._size = Size(0)
        self._held_body: HeldBody | None = None

    @property
    def body(self) -> RequestBody:
        """The body, once `receive` has returned."""
        assert self._body is not None
        return self._body

    @property
    def input_estimate(self) -> int:
        return self._size.input_tokens

    @property
    def cache_ttl(self) -> str:
        """The longest lifetime of cache writes that the request asks for; empty for none."""
        return self._size.cache_ttl

    def receive(self, http_request: HttpRequest, *, strict: bool) -> RequestBody:
        """Check what can be checked without the body, then read it.

        Raise RequestRejected or RequestError. A request without a valid body counts as one of its minute: otherwise it
        could be sent again and again. Other rejected requests take nothing.
        """
        length = body.expected_length(http_request.META)
        _check_open()
        try:
            self._enter(length)
        except BaseException:
            self.release()
            raise
        try:
            self._body = body.read(http_request, strict=strict)
            self._size = measure(self._body.request, step=pace())
        except RequestError:
            self.settle(tokens=0)
            raise
        except BaseException:
            self.release()
            raise
        return self._body

    def _enter(self, length: int) -> None:
        try:
            check_client_ip(self.key, self.client.ip_address)
            circuit_breakers.prefetch()  # in the same round trip as the limits
            self.grant = limiter.consume(self.client.request_id, self.key.limits, lease_s=LIMITS_LEASE_S)
            self._held_body = bodies.hold(length, key_id=self.key.key_id)
        except (RequestRejected, RequestError) as error:
            self._reject(error)
            raise
        finally:
            deadlines.release_connections()

    def admit(self) -> tuple[list[Target], Admission]:
        """Return the targets in the order of attempts and the admission in the ledger.

        Raise RequestRejected or RequestError, and take nothing.
        """
        try:
            _check_open()
            return self._admit()
        except BaseException:
            self.release()
            raise

    def settle(self, *, tokens: int) -> None:
        """Settle the limits by the tokens that the request used, and let go of its body. May be called twice."""
        limiter.settle(self.grant, tokens=tokens)
        self._release_body()

    def release(self) -> None:
        """Refund the limits: the request is not admitted. May be called twice."""
        limiter.release(self.grant)
        self._release_body()

    def _release_body(self) -> None:
        if self._held_body is not None:
            self._held_body.release()

    def _admit(self) -> tuple[list[Target], Admission]:
        request = self.body.request
        try:
            check_models(request, key=self.key)
            limiter.consume_tokens(self.grant, tokens=self.input_estimate + output_limit(request))
            targets, needed = self._price(find_targets(request["model"], key=self.key))
        except (RequestRejected, RequestError) as error:
            self._reject(error)
            raise
        finally:
            deadlines.release_connections()
        longest_s = max(target.endpoint.timeouts.request_timeout_s for target in targets)
        admission = self._record(lease_s=ledger.lease_s(longest_s), reservation_requests=needed, first=targets[0])
        ledger.admit(admission)
        return targets, admission

    def _price(self, targets: list[Target]) -> tuple[list[Target], list[ReservationRequest]]:
        """Return the targets that the key's budgets can pay for, and the amounts to reserve.

        Raise Unpriced or CostUnbounded if there is none.
        """
        with refresh_deadline(prices):
            book = prices.book()
        if not self.key.budgets:
            return targets, []
        bounds = CostBounds(self.body.request, self._size, book)
        if any(budget.unit == "usd" for budget in self.key.budgets):
            costs = bounds.affordable(targets)
            return [cost.target for cost in costs], reservation_requests(
                self.key.budgets,
                micros=max(cost.micros for cost in costs),
                tokens=max(cost.tokens for cost in costs),
            )
        tokens = max(bounds.tokens(target) for target in targets)
        return targets, reservation_requests(self.key.budgets, micros=0, tokens=tokens)

    def _reject(self, error: RequestRejected | RequestError) -> None:
        """Write the usage record of a rejected request."""
        ledger.reject(
            self._record(),
            http_status=error.status,
            error_type=error.type,
            limit_exceeded=error.limit_exceeded if isinstance(error, RequestRejected) else None,
            is_model_known=self._body is not None and is_routed(self._body.request["model"]),
        )

    def _record(
        self,
        *,
        lease_s: float = 0,
        reservation_requests: Sequence[ReservationRequest] = (),
        first: Target | None = None,
    ) -> Admission:
        request = None if self._body is None else self._body.request
        return Admission(
            id=self.client.request_id,
            api_key_id=self.key.key_id,
            secret_id=self.key.secret_id,
            team_id=self.key.team_id,
            owner_id=self.key.owner_id,
            api_format=self.api_format,
            model=request["model"] if request else "",
            streamed=request.get("stream", False) if request else False,
            estimated_input_tokens=self.input_estimate if request else None,
            lease_s=lease_s,
            upstream=first.endpoint.name if first else "",
            upstream_model=first.model if first else "",
            **(asked_columns(request, first.endpoint) if request and first else {}),
            client_ip=self.client.ip_address,
            client_request_id=self.client.client_request_id,
            user_agent=self.client.user_agent,
            session_id=self.client.session_id or (session_in(request) if request else ""),
            agent_id=self.client.agent_id,
            parent_agent_id=self.client.parent_agent_id,
            request_class=self.client.request_class,
            tags=self._tags(),
            reservation_requests=reservation_requests,
            limit_exceeded=self.grant.shadow_exceeded,
        )

    def _tags(self) -> dict[str, str] | None:
        """Return the client's tags, with a bounded number of names and values per key."""
        if not self.client.tags:
            return None
        return bounded_tags(self.client.tags, key_id=self.key.key_id, at=timezone.now())


def _check_open() -> None:
    """Raise RequestError while the process shuts down, LedgerUnavailable while no usage record can be written."""
    if watcher.is_draining:
        raise RequestError(RESTARTING, status=503, type="overloaded_error", headers={"Retry-After": "1"})
    if ledger.is_unavailable():
        raise LedgerUnavailable


def check_client_ip(key: Snapshot, client_ip: str | None) -> None:
    """Raise NotPermitted unless a key may be used from a client IP address."""
    authorization.check_client_ip(key, client_ip)


def check_models(request: Mapping[str, Any], *, key: Snapshot) -> None:
    """Raise NotPermitted if a request names a model that its key may not use, or has a field that may choose one.

    Raise NotAuthenticated for a key that expired while the body was read.
    """
    authorization.check_usable(key)
    authorization.check_model(key, request["model"])
    if not authorization.has_model_allowlist(key):
        return
    for path, name in named_models(request, step=pace()):
        if name is None:
            raise authorization.unknown_model(key, param=path)
        authorization.check_model(key, name, param=path)
