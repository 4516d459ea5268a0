"""Protection of list filters in URLs: no server error, no disclosure of secret columns, no costly patterns."""

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.db import DatabaseError
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

SECRET_FIELDS = {"credential_ciphertext", "digest", "idempotency_key", "password", "pepper_id", "secret_token"}
COSTLY_LOOKUPS = {"regex", "iregex"}  # a single pattern can occupy a worker without limit


class LookupGuard:
    """Mixin for a ModelAdmin: handle any filter in the URL without a server error or a disclosed secret."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Raise IncorrectLookupParameters, which redirects to the unfiltered list, for every filter that fails.

        Django lets some errors pass: years outside the calendar, ranges with one end, values too large for the column.
        An unfiltered list raises its own error.
        """
        try:
            return super().get_changelist_instance(request)  # type: ignore[misc]
        except (IndexError, OverflowError, ValueError, DatabaseError) as error:
            if not set(request.GET) - {ERROR_FLAG}:
                raise
            raise IncorrectLookupParameters from error

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Reject secret columns: `?credential_ciphertext__startswith=…` would disclose them letter by letter."""
        if (SECRET_FIELDS | COSTLY_LOOKUPS).intersection(lookup.split(LOOKUP_SEP)):
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[misc]
