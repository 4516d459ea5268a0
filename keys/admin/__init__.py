"""Django admin of API keys, teams, prices and usage records."""

from keys.admin import negotiated_factors, prices, teams, usage_records
from keys.admin.api_keys import model_admin

__all__ = ["model_admin", "negotiated_factors", "prices", "teams", "usage_records"]
