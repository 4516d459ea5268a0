"""Authorization: what an authenticated key may do. Every request passes it, whether its snapshot was cached or not."""

from keys.access.snapshots import Snapshot
from keys.domain.limits import ALLOWED_IPS, ALLOWED_MODELS, LimitExceeded
from keys.errors import NotAuthenticated, NotPermitted
from lib import model_patterns
from lib.networks import is_within


def check_usable(snapshot: Snapshot) -> None:
    """Raise NotAuthenticated unless the key is usable now."""
    if not snapshot.is_usable():
        raise NotAuthenticated


def authorize(snapshot: Snapshot, *, model: str, client_ip: str | None) -> None:
    """Check that a key may request a model now from a client IP address. Raise NotAuthenticated or NotPermitted.

    Runs before routing, so that a key with an allowlist cannot find out which other models exist.
    """
    check_usable(snapshot)
    if snapshot.networks and not is_within(client_ip, snapshot.networks):
        raise NotPermitted(
            "API key is not allowed from your IP address.",
            limit_exceeded=LimitExceeded(scope="key", limit=ALLOWED_IPS),
        )
    if not allows_model(snapshot, model):
        scope = "key" if not model_patterns.allows(snapshot.allowed_models, model) else "team"
        raise NotPermitted(
            "API key is not allowed to use the requested model.",
            param="model",
            limit_exceeded=LimitExceeded(scope=scope, limit=ALLOWED_MODELS),
        )


def allows_model(snapshot: Snapshot, model: str) -> bool:
    """Return whether the allowlists of the key and of its team both allow a model."""
    return all(model_patterns.allows(each, model) for each in (snapshot.allowed_models, snapshot.team_models))
