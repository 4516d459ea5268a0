"""The model servers behind the gateway, and which of them answers for which model."""

from messages_api.models.upstreams import Dialect, Route, RouteTarget, Upstream

__all__ = ["Dialect", "Route", "RouteTarget", "Upstream"]
