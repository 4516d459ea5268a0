"""App configuration of the Messages API."""

from django.apps import AppConfig


class MessagesApiConfig(AppConfig):
    name = "messages_api"
    verbose_name = "Upstreams and routes"
