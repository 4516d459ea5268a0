"""The one gate: every call passes it, whatever header its key came in and whether its snapshot was cached."""

from keys.access.snapshots import Snapshot
from keys.domain.limits import ALLOWED_IPS, ALLOWED_MODELS, LimitExceeded
from keys.errors import NotAuthenticated, NotPermitted
from lib import model_patterns
from lib.networks import is_within


def check_usable(snapshot: Snapshot) -> None:
    """Raise NotAuthenticated unless the key is open and not expired at this moment."""
    if not snapshot.is_usable():
        raise NotAuthenticated


def authorize(snapshot: Snapshot, *, model: str, address: str | None) -> None:
    """Raise NotAuthenticated or NotPermitted unless this key may call this model now, from this address.

    Asked before routing, so a key with an allow-list learns nothing about which models exist.
    """
    check_usable(snapshot)
    if snapshot.networks and not is_within(address, snapshot.networks):
        raise NotPermitted(
            "This API key may not be used from your address.",
            limit_exceeded=LimitExceeded(scope="key", limit=ALLOWED_IPS),
        )
    if not may_use(snapshot, model):
        scope = "key" if not model_patterns.allows(snapshot.allowed_models, model) else "team"
        raise NotPermitted(
            "This API key may not use the requested model.",
            param="model",
            limit_exceeded=LimitExceeded(scope=scope, limit=ALLOWED_MODELS),
        )


def may_use(snapshot: Snapshot, model: str) -> bool:
    """Whether the key's allow-list, if it has one, names the model, and so does its team's."""
    return all(model_patterns.allows(each, model) for each in (snapshot.allowed_models, snapshot.team_models))
