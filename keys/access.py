"""The one gate: every call passes it, whatever header its key came in and whether its snapshot was cached."""

from keys.errors import NotAuthenticated, NotPermitted
from keys.snapshots import Snapshot


def check_usable(snapshot: Snapshot) -> None:
    """Raise NotAuthenticated unless the key is open and not expired at this moment."""
    if not snapshot.is_usable():
        raise NotAuthenticated


def authorize(snapshot: Snapshot, *, model: str) -> None:
    """Raise NotAuthenticated or NotPermitted unless this key may call this model now.

    Asked before routing, so a key with an allow-list learns nothing about which models exist.
    """
    check_usable(snapshot)
    if not may_use(snapshot, model):
        raise NotPermitted("This API key may not use the requested model.", param="model")


def may_use(snapshot: Snapshot, model: str) -> bool:
    """Whether the key's allow-list, if it has one, names the model."""
    return not snapshot.allowed_models or any(_matches(pattern, model) for pattern in snapshot.allowed_models)


def _matches(pattern: str, model: str) -> bool:
    if pattern.endswith("*"):
        return model.startswith(pattern[:-1])
    return model == pattern
