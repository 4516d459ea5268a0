"""Models of keys, budgets, prices, usage and bills. Keys are written by their managers, usage by the ledger only."""

from keys.models.bills import Bill, BillLine, SignedOffMonth, UpstreamKeys
from keys.models.budgets import Budget, BudgetPeriod
from keys.models.key_state import KeyState
from keys.models.keys import APIKey, KeyRevoked, KeySecret, new_public_id
from keys.models.notifications import Notification
from keys.models.prices import ModelPrice, NegotiatedFactor, PriceModifier
from keys.models.reporting_zone import ReportingZone
from keys.models.reratings import Rerating, ReratingChange
from keys.models.teams import Team
from keys.models.usage import HourlyLatency, HourlyUsage, UsageRecord

__all__ = [
    "APIKey",
    "Bill",
    "BillLine",
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
    "ReportingZone",
    "Rerating",
    "ReratingChange",
    "SignedOffMonth",
    "Team",
    "UpstreamKeys",
    "UsageRecord",
    "new_public_id",
]
