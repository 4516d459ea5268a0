"""What admins see of keys and usage."""

from keys.admin import api_key, prices, teams, usage

__all__ = ["api_key", "prices", "teams", "usage"]
