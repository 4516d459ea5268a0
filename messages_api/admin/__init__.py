"""Admin pages of upstreams and routes."""

from messages_api.admin import routes, upstreams  # noqa: F401  # registers them
