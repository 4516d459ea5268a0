"""App configurations of the project, the admin site and the static files."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.contrib.staticfiles.apps import StaticFilesConfig

from project import checks  # noqa: F401  # registers the system checks


class GatewayStaticFilesConfig(StaticFilesConfig):
    ignore_patterns = [*StaticFilesConfig.ignore_patterns, "redoc"]  # 10 MB that no page loads


class GatewayAdminConfig(AdminConfig):
    default_site = "project.site.admin_site.GatewayAdminSite"


class ProjectConfig(AppConfig):
    name = "project"
