"""The one gate: every call passes it, whatever header its key came in and whether its snapshot was cached."""

from keys.addresses import is_within
from keys.errors import NotAuthenticated, NotPermitted
from keys.snapshots import Snapshot


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
        raise NotPermitted("This API key may not be used from your address.")
    if not may_use(snapshot, model):
        raise NotPermitted("This API key may not use the requested model.", param="model")


def may_use(snapshot: Snapshot, model: str) -> bool:
    """Whether the key's allow-list, if it has one, names the model, and so does its team's."""
    return all(
        any(_matches(pattern, model) for pattern in patterns)
        for patterns in (snapshot.allowed_models, snapshot.team_models)
        if patterns
    )


def _matches(pattern: str, model: str) -> bool:
    if pattern.endswith("*"):
        return model.startswith(pattern[:-1])
    return model == pattern
