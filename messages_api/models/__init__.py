"""Upstreams, the routes from model names to them, their status, and alerts."""

from messages_api.models.alerts import AlertRule, AlertState, Incident, KnownNetwork, LedgerOutage
from messages_api.models.circuit_events import CircuitEvent, ProcessReport
from messages_api.models.model_catalogs import ModelCatalog
from messages_api.models.routes import Route, RouteTarget
from messages_api.models.upstreams import Dialect, Upstream

__all__ = [
    "AlertRule",
    "AlertState",
    "CircuitEvent",
    "Dialect",
    "Incident",
    "KnownNetwork",
    "LedgerOutage",
    "ModelCatalog",
    "ProcessReport",
    "Route",
    "RouteTarget",
    "Upstream",
]
