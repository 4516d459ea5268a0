"""What admins see of keys and usage."""

from keys.admin import keys, prices, teams, usage

__all__ = ["keys", "prices", "teams", "usage"]
