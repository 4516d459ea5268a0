"""What admins see of model servers and routes."""

from messages_api.admin import upstreams  # noqa: F401
