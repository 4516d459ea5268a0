"""Authorization: what an authenticated key may do. Every request passes it, whether its snapshot was cached or not."""

from keys.access.snapshots import Snapshot
from keys.domain.limits import ALLOWED_IPS, ALLOWED_MODELS, LimitExceeded
from keys.errors import NotAuthenticated, NotPermitted
from lib import model_patterns
from lib.model_patterns import EVERY_MODEL
from lib.networks import is_within

MAX_NAME = 256
MAX_NAMED = 20
"""Allowed models that an error names. An allowlist may have hundreds."""


def check_usable(snapshot: Snapshot) -> None:
    """Raise NotAuthenticated unless the key is usable now."""
    if not snapshot.is_usable():
        raise NotAuthenticated


def check_client_ip(snapshot: Snapshot, client_ip: str | None) -> None:
    """Raise NotPermitted unless a key may be used from a client IP address."""
    if snapshot.networks and not is_within(client_ip, snapshot.networks):
        raise NotPermitted(
            "API key is not allowed from your IP address.",
            limit_exceeded=LimitExceeded(scope="key", limit=ALLOWED_IPS),
        )


def check_model(snapshot: Snapshot, model: str, *, param: str = "model") -> None:
    """Raise NotPermitted unless a key may request a model. `param` is the path of the field that names it.

    Runs before routing, so that a key with an allowlist cannot find out which other models exist. The error names the
    models of the allowlist, which `GET /key` shows to the same client.
    """
    if not allows_model(snapshot, model):
        raise NotPermitted(
            f'API key is not allowed to use the requested model "{model[:MAX_NAME]}". {_allowed_models(snapshot)}',
            param=param,
            limit_exceeded=_model_limit(snapshot, model),
        )


def unknown_model(snapshot: Snapshot, *, param: str) -> NotPermitted:
    """Return the error for a field that may choose a model which the gateway cannot check."""
    return NotPermitted(
        f"{param}: this API key is limited to certain models, and the field may choose another one. Remove the field.",
        param=param,
        limit_exceeded=_model_limit(snapshot, EVERY_MODEL),
    )


def _allowed_models(snapshot: Snapshot) -> str:
    allowed = model_patterns.common(snapshot.allowed_models, snapshot.team_models)
    if not allowed:
        return "It has no allowed model."
    more = f" and {len(allowed) - MAX_NAMED} more" if len(allowed) > MAX_NAMED else ""
    return f"Allowed models: {', '.join(allowed[:MAX_NAMED])}{more}."


def _model_limit(snapshot: Snapshot, model: str) -> LimitExceeded:
    scope = "key" if not model_patterns.allows(snapshot.allowed_models, model) else "team"
    return LimitExceeded(scope=scope, limit=ALLOWED_MODELS)


def has_model_allowlist(snapshot: Snapshot) -> bool:
    """Return whether some model is not allowed for a key."""
    return not allows_model(snapshot, EVERY_MODEL)


def allows_model(snapshot: Snapshot, model: str) -> bool:
    """Return whether the allowlists of the key and of its team both allow a model."""
    return all(model_patterns.allows(each, model) for each in (snapshot.allowed_models, snapshot.team_models))
