from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class StaffConfig(AppConfig):
    """Listed after the apps whose permissions its roles give: those of an app exist once its turn has come."""

    name = "staff"
    verbose_name = "Access"

    def ready(self) -> None:
        autodiscover_modules("audit_registry", "roles")  # both listen to signals
