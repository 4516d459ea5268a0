"""API key authentication: from the request headers to the snapshot of a usable key, or 401."""

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication

from keys.access import authorization
from keys.access.rejected_uses import rejected_uses
from keys.access.snapshot_cache import cache
from keys.access.snapshots import Snapshot
from keys.domain import raw_key
from keys.errors import NotAuthenticated


class APIKeyAuthentication(BaseAuthentication):
    """Authenticate by `Authorization: Bearer <key>` or `x-api-key: <key>`. Two different keys are rejected with 401.

    A malformed key costs microseconds and no query. Clients that try out well-formed keys are throttled with 429.
    """

    def authenticate(self, http_request: HttpRequest) -> tuple[None, Snapshot]:
        raw = presented_key(http_request)
        if raw is None:
            raise NotAuthenticated("Send your API key as `Authorization: Bearer <key>` or as `x-api-key: <key>`.")
        if not raw_key.is_well_formed(raw):
            raise NotAuthenticated
        client_ip = http_request.client_ip  # type: ignore[attr-defined]  # set by the API middleware
        snapshot = cache.find(raw, client_ip=client_ip)
        if snapshot is None:
            raise NotAuthenticated
        try:
            authorization.check_usable(snapshot)
        except NotAuthenticated:
            rejected_uses.record(snapshot.secret_id)
            raise
        return None, snapshot

    def authenticate_header(self, http_request: HttpRequest) -> str:
        return "Bearer"


def presented_key(http_request: HttpRequest) -> str | None:
    """Return the raw key that a request presents, or None. Raise NotAuthenticated for two different keys.

    Authorization schemes other than Bearer are ignored.
    """
    scheme, _, value = http_request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    bearer = value.strip() if scheme.lower() == "bearer" else ""
    x_api_key = http_request.META.get("HTTP_X_API_KEY", "").strip()
    if bearer and x_api_key and bearer != x_api_key:
        raise NotAuthenticated("Two different API keys were sent. Send one.")
    return bearer or x_api_key or None
