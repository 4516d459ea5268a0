"""Models of keys, budgets, prices and usage. Keys are written by their managers, usage by the ledger only."""

from keys.models.budgets import Budget, BudgetPeriod
from keys.models.key_state import KeyState
from keys.models.keys import APIKey, KeyRevoked, KeySecret, new_public_id
from keys.models.notifications import Notification
from keys.models.prices import ModelPrice, NegotiatedFactor, PriceModifier
from keys.models.teams import Team
from keys.models.usage import HourlyLatency, HourlyUsage, UsageRecord

__all__ = [
    "APIKey",
    "Budget",
    "BudgetPeriod",
    "HourlyLatency",
    "HourlyUsage",
    "KeyRevoked",
    "KeySecret",
    "KeyState",
    "ModelPrice",
    "NegotiatedFactor",
    "Notification",
    "PriceModifier",
    "Team",
    "UsageRecord",
    "new_public_id",
]
