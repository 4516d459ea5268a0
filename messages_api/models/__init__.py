"""Upstreams, and the routes from model names to them."""

from messages_api.models.routes import Route, RouteTarget
from messages_api.models.upstreams import Dialect, Upstream

__all__ = ["Dialect", "Route", "RouteTarget", "Upstream"]
