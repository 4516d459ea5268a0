"""Routes that a key may use: its list of models, and the targets of one request."""

from contextlib import AbstractContextManager

from django.conf import settings

from keys.access import authorization
from keys.access.snapshots import Snapshot
from lib import deadlines, model_patterns
from messages_api.backend.endpoint import Target
from messages_api.errors import RequestError
from messages_api.routing.route_table import RouteTable, attempt_order, routes


def models(*, key: Snapshot) -> list[str]:
    """Return the models that a key may use: those with a route of their own, and those in its allowlist."""
    table = _routes()
    listed = filter(table.find, model_patterns.names([*key.allowed_models, *key.team_models]))
    return sorted({name for name in (*table.names(), *listed) if authorization.allows_model(key, name)})


def is_available(model: str, *, key: Snapshot) -> bool:
    """Return whether a key may use a model and a route matches it, by name or by a pattern."""
    match = _routes().find(model)
    return authorization.allows_model(key, model) and match is not None and bool(match.targets)


def find_targets(model: str, *, key: Snapshot) -> list[Target]:
    """Return the targets for one request, in the order of attempts.

    Raise RequestError: 404 with the models that this key may use, or 503 where the route has no usable target now.
    """
    match = _routes().find(model)
    if match is None or not match.targets:
        usable = models(key=key)
        known = f"Models for this key: {', '.join(usable)}." if usable else "This API key has no usable model."
        raise RequestError(f"Model not found. {known}", param="model", status=404, type="not_found_error")
    targets = attempt_order(match.usable(lambda name: authorization.allows_model(key, name)))
    if not targets:
        raise RequestError("No upstream is currently available for this model.", status=503, type="overloaded_error")
    return targets


def _routes() -> RouteTable:
    with refresh_deadline(routes.last):
        return routes.table()


def refresh_deadline(last: object | None) -> AbstractContextManager[None]:
    """Limit the wait for a cached table. If there is a `last` value, leave half the time for the usage record."""
    return deadlines.deadline(settings.DATABASE_TIMEOUT_S if last is None else settings.DATABASE_TIMEOUT_S / 2)
