"""Access of a request: the client's IP address, and the models that it names, wherever it names them."""

from collections.abc import Mapping
from typing import Any

from keys.access import authorization
from keys.access.snapshots import Snapshot
from lib.pace import pace
from messages_api.intake.named_models import named_models


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
