"""Django admin of API keys, teams, prices, usage records and bills."""

from keys.admin import bills, key_requests, negotiated_factors, prices, teams
from keys.admin.api_keys import model_admin
from keys.admin.usage_records.model_admin import UsageRecordAdmin

__all__ = ["UsageRecordAdmin", "bills", "key_requests", "model_admin", "negotiated_factors", "prices", "teams"]
