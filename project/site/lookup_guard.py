"""What every list of the admin has in common, those of packages too."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.db import DatabaseError
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

SECRETS = {"credential_ciphertext", "digest", "idempotency_key", "password", "pepper_id", "secret_token"}
PATTERNS = {"regex", "iregex"}  # one of these can keep a worker busy for ever


class GuardedLookups:
    """Put before a ModelAdmin: filters in the address neither make the list fail nor spell out a secret."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """
        Raise IncorrectLookupParameters, which leads back to the whole list, also where Django lets others pass: for
        years that no calendar has, ranges with one end, and what no column holds. The whole list fails as it fails.
        """
        try:
            return super().get_changelist_instance(request)  # type: ignore[misc]
        except (IndexError, OverflowError, ValueError, DatabaseError) as error:
            if not set(request.GET) - {ERROR_FLAG}:
                raise
            raise IncorrectLookupParameters from error

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Not by what no page shows: `?credential_ciphertext__startswith=…` would tell it letter by letter."""
        if (SECRETS | PATTERNS).intersection(lookup.split(LOOKUP_SEP)):
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[misc]


def guarded(admin_class: type[ModelAdmin]) -> type[ModelAdmin]:
    namespace = {"__module__": admin_class.__module__}
    return type(admin_class)(admin_class.__name__, (GuardedLookups, admin_class), namespace)  # type: ignore[misc]
