from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig

from project import checks  # noqa: F401  # registers the system checks


class GatewayAdminConfig(AdminConfig):
    default_site = "project.admin.GatewayAdminSite"


class ProjectConfig(AppConfig):
    name = "project"
