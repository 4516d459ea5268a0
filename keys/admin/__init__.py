"""Django admin of API keys, teams, prices and usage records."""

from keys.admin import prices, teams, usage_records
from keys.admin.api_keys import model_admin

__all__ = ["model_admin", "prices", "teams", "usage_records"]
