"""Django admin of API keys, teams, prices, usage records and bills."""

from keys.admin import bills, negotiated_factors, prices, teams, usage_records
from keys.admin.api_keys import model_admin

__all__ = ["bills", "model_admin", "negotiated_factors", "prices", "teams", "usage_records"]
