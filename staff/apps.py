"""App configuration of staff."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class StaffConfig(AppConfig):
    """The last app of the gateway: its roles grant permissions of the other apps, which must exist by then."""

    name = "staff"
    verbose_name = "Access"

    def ready(self) -> None:
        autodiscover_modules("audit_registry", "roles")  # both connect signal receivers
