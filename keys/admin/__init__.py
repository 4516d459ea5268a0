"""What admins see of keys and usage."""

from keys.admin import keys, usage

__all__ = ["keys", "usage"]
