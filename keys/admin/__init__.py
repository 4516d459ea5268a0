"""What admins see of keys and usage."""

from keys.admin import api_key as keys
from keys.admin import prices, teams, usage

__all__ = ["keys", "prices", "teams", "usage"]
