"""What every list of the admin has in common, those of packages too."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import DataError
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest

SECRETS = {"credential_token", "digest", "issue_token", "password", "pepper_id", "secret_token"}


class GuardedLookups:
    """Put before a ModelAdmin: filters in the address neither make the list fail nor spell out a secret."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Raise IncorrectLookupParameters, which leads back to the whole list, also where Django lets others pass:
        for years that no calendar has, and numbers and texts that no column holds."""
        try:
            return super().get_changelist_instance(request)  # type: ignore[misc]
        except (OverflowError, ValueError, DataError) as error:
            if not request.GET:
                raise
            raise IncorrectLookupParameters from error

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Not by what no page shows: `?credential_token__startswith=…` would tell it letter by letter."""
        if SECRETS.intersection(lookup.split(LOOKUP_SEP)):
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[misc]


def guarded(admin_class: type[ModelAdmin]) -> type[ModelAdmin]:
    namespace = {"__module__": admin_class.__module__}
    return type(admin_class)(admin_class.__name__, (GuardedLookups, admin_class), namespace)  # type: ignore[misc]
