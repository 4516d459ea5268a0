"""Models of keys, budgets, prices, usage and bills. Keys are written by their managers, usage by the ledger only."""

from keys.models.bills import Bill, BillLine, SignedOffMonth, UpstreamKeys
from keys.models.budgets import Budget, BudgetPeriod
from keys.models.key_requests import KeyRequest
from keys.models.key_state import KeyState
from keys.models.keys import APIKey, KeyRevoked, KeySecret, new_public_id
from keys.models.notifications import Notification
from keys.models.prices import ModelPrice, NegotiatedFactor, PriceModifier
from keys.models.reporting_zone import ReportingZone
from keys.models.reratings import Rerating, ReratingChange
from keys.models.rollups import (
    BuiltPeriod,
    DailyKeyLatency,
    DailyLatency,
    DailyModelLatency,
    DailyUsage,
    HourlyLatency,
    HourlyUsage,
    MonthlyKeyLatency,
    MonthlyLatency,
    MonthlyModelLatency,
    MonthlyUsage,
    RetainedUsage,
)
from keys.models.saved_views import SavedView
from keys.models.teams import Team
from keys.models.usage import UsageRecord

__all__ = [
    "APIKey",
    "Bill",
    "BillLine",
    "Budget",
    "BudgetPeriod",
    "BuiltPeriod",
    "DailyKeyLatency",
    "DailyLatency",
    "DailyModelLatency",
    "DailyUsage",
    "HourlyLatency",
    "HourlyUsage",
    "KeyRequest",
    "KeyRevoked",
    "KeySecret",
    "KeyState",
    "ModelPrice",
    "MonthlyKeyLatency",
    "MonthlyLatency",
    "MonthlyModelLatency",
    "MonthlyUsage",
    "NegotiatedFactor",
    "Notification",
    "PriceModifier",
    "ReportingZone",
    "Rerating",
    "ReratingChange",
    "RetainedUsage",
    "SavedView",
    "SignedOffMonth",
    "Team",
    "UpstreamKeys",
    "UsageRecord",
    "new_public_id",
]
