"""
Header → `request.auth`, the snapshot of a usable key, or 401. Garbage costs microseconds and no query; who tries out
well-formed keys is a 429 before long.
"""

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request as DRFRequest

from keys.access import authorization
from keys.access.rejected_uses import rejected_uses
from keys.access.snapshots import Snapshot, cache
from keys.domain import raw_key
from keys.errors import NotAuthenticated


class APIKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or `x-api-key: <key>`; two different keys at once are none (401)."""

    def authenticate(self, http_request: DRFRequest) -> tuple[None, Snapshot]:
        raw = credential(http_request._request)
        if raw is None:
            raise NotAuthenticated("Send your API key as `Authorization: Bearer <key>` or as `x-api-key: <key>`.")
        if not raw_key.is_well_formed(raw):
            raise NotAuthenticated
        address = http_request._request.client_ip  # type: ignore[attr-defined]  # set by the boundary
        snapshot = cache.find(raw, address=address)
        if snapshot is None:
            raise NotAuthenticated
        try:
            authorization.check_usable(snapshot)
        except NotAuthenticated:
            rejected_uses.note(snapshot.secret_id)
            raise
        return None, snapshot

    def authenticate_header(self, http_request: DRFRequest) -> str:
        return "Bearer"


def credential(http_request: HttpRequest) -> str | None:
    """The one key that a caller shows, or None. Another scheme than Bearer is no credential."""
    scheme, _, value = http_request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    bearer = value.strip() if scheme.lower() == "bearer" else ""
    x_api_key = http_request.META.get("HTTP_X_API_KEY", "").strip()
    if bearer and x_api_key and bearer != x_api_key:
        raise NotAuthenticated("Two different API keys were sent; send one.")
    return bearer or x_api_key or None
