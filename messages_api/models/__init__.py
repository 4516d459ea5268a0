"""Upstreams, and the routes from model names to them."""

from messages_api.models.model_catalogs import ModelCatalog
from messages_api.models.routes import Route, RouteTarget
from messages_api.models.upstreams import Dialect, Upstream

__all__ = ["Dialect", "ModelCatalog", "Route", "RouteTarget", "Upstream"]
