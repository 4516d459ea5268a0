"""Admin pages of upstreams, routes and alerts."""

from messages_api.admin import alerts, routes, upstreams  # noqa: F401  # registers them
