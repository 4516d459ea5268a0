"""
The way in: what a call has to pass before it is one. Only then is there a row.

The order is the one in which a caller learns what is wrong: the gate (403), the limits (429), the route (404), the
budgets (402), and last the ledger itself (503). Who is refused leaves a row as well.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from django.conf import settings
from django.utils import timezone

from keys.access import authorization
from keys.access.snapshots import Snapshot
from keys.budgets import reservations
from keys.budgets.reservations import ReservationRequest
from keys.errors import LedgerUnavailable, RequestRejected, Unpriced
from keys.limits import limiter
from keys.pricing.price_book import prices
from keys.usage import ledger
from keys.usage.rows import Admission
from lib import deadlines, model_patterns
from messages_api.backend.endpoint import Target
from messages_api.backend.protocol.token_estimate import estimate
from messages_api.errors import RequestError
from messages_api.intake.body import Body
from messages_api.intake.client import ClientInfo
from messages_api.routing.route_table import RouteTable, attempt_order, routes
from messages_api.watcher import watcher

LIMITS_LEASE_S = 24 * 3600.0  # longer than any call: a place that is lost all the same is free again after that
RESTARTING = "The gateway is restarting; try again."


class AdmissionControl:
    """One call at the door. `admit` opens it once; what is granted then is settled or released with the call."""

    def __init__(self, body: Body, *, key: Snapshot, caller: ClientInfo, api_format: str) -> None:
        self.input_estimate = estimate(body.request)
        self.grant = limiter.LimitGrant(call_id=caller.request_id)
        """What the call holds of its limits."""
        self._body = body
        self._key = key
        self._caller = caller
        self._lane = api_format

    def admit(self) -> tuple[list[Target], Admission]:
        """The targets that may answer, in order, and the row that now stands. Raise Refused or RequestError."""
        _check_open()
        try:
            return self._let_in()
        except BaseException:
            limiter.release(self.grant)
            raise

    def _let_in(self) -> tuple[list[Target], Admission]:
        model = self._body.request["model"]
        try:
            authorization.authorize(self._key, model=model, address=self._caller.address)
            self.grant = limiter.take(
                self._caller.request_id,
                self._key.limits,
                tokens=self.input_estimate + self._body.request["max_tokens"],
                lease_s=LIMITS_LEASE_S,
            )
            targets, claims = self._charged(find_targets(model, key=self._key))
        except (RequestRejected, RequestError) as error:
            ledger.refuse(self._row(error=error), http_status=error.status, error_type=error.type)
            raise
        finally:
            deadlines.release_connections()
        longest_s = max(target.endpoint.timeouts.request_timeout_s for target in targets)
        admission = self._row(lease_s=longest_s + settings.LEASE_GRACE_S, claims=claims, first=targets[0])
        ledger.admit(admission)
        return targets, admission

    def _charged(self, targets: list[Target]) -> tuple[list[Target], list[ReservationRequest]]:
        """The targets that the key can pay for, and what it has to hold of its budgets. Raise Unpriced if none is."""
        with _patience(prices.last):
            book = prices.book()
        now = timezone.now()
        if not self._key.budgets:
            return targets, []
        found = [(target, book.find(target.model, upstream=target.endpoint.name, at=now)) for target in targets]
        if any(terms.unit == "usd" for terms in self._key.budgets):
            found = [(target, price) for target, price in found if price is not None]
            if not found:
                raise Unpriced
        claims = reservations.claims(
            self._key.budgets,
            input_tokens=self.input_estimate,
            max_tokens=self._body.request["max_tokens"],
            prices=[price for _, price in found],
            may_write_cache=b'"cache_control"' in self._body.raw,
        )
        return [target for target, _ in found], claims

    def _row(
        self,
        *,
        lease_s: float = 0,
        claims: Sequence[ReservationRequest] = (),
        first: Target | None = None,
        error: Exception | None = None,
    ) -> Admission:
        return Admission(
            id=self._caller.request_id,
            api_key_id=self._key.key_id,
            secret_id=self._key.secret_id,
            api_format=self._lane,
            model=self._body.request["model"],
            streamed=self._body.request.get("stream", False),
            estimated_input_tokens=self.input_estimate,
            lease_s=lease_s,
            upstream=first.endpoint.name if first else "",
            upstream_model=first.model if first else "",
            client_ip=self._caller.address,
            client_request_id=self._caller.client_request_id,
            user_agent=self._caller.user_agent,
            claims=claims,
            limit_exceeded=getattr(error, "hit", self.grant.shadow_exceeded),
        )


def models(*, key: Snapshot) -> list[str]:
    """The model names that a key may use: those with a route of their own, and those that its allow-list names."""
    table = _routes()
    listed = filter(table.find, model_patterns.names([*key.allowed_models, *key.team_models]))
    return sorted({name for name in (*table.names(), *listed) if authorization.may_use(key, name)})


def knows(model: str, *, key: Snapshot) -> bool:
    """Whether a call for a model would be let in and find a route, by its name or by a pattern."""
    match = _routes().find(model)
    return authorization.may_use(key, model) and match is not None and bool(match.targets)


def find_targets(model: str, *, key: Snapshot) -> list[Target]:
    """What answers for a model, in the order in which one call asks.

    Raise RequestError: 404, which names the models that this key may use, or 503 where a route leads nowhere now.
    """
    match = _routes().find(model)
    if match is None or not match.targets:
        usable = models(key=key)
        known = f"Models for this key: {', '.join(usable)}." if usable else "This key has no model to use."
        raise RequestError(
            f"The requested model is not known here. {known}", param="model", status=404, type="not_found_error"
        )
    targets = attempt_order(match.usable(lambda name: authorization.may_use(key, name)))
    if not targets:
        raise RequestError("No upstream serves this model at the moment.", status=503, type="overloaded_error")
    return targets


def _routes() -> RouteTable:
    with _patience(routes.last):
        return routes.table()


def _patience(last: object | None) -> AbstractContextManager[None]:
    """How long to wait for what can be had in an older form: it leaves time for the row, which comes next."""
    return deadlines.deadline(settings.DATABASE_TIMEOUT_S if last is None else settings.DATABASE_TIMEOUT_S / 2)


def _check_open() -> None:
    """Raise RequestError when the process is about to end, LedgerUnavailable when no row can be written."""
    if watcher.is_draining:
        raise RequestError(RESTARTING, status=503, type="overloaded_error", headers={"Retry-After": "1"})
    if ledger.is_away():
        raise LedgerUnavailable
