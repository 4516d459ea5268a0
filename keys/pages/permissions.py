"""What a user may do with API keys: the permission of each page, and the actions that a key's state allows."""

from typing import Any

from keys.display.state_changes import DISABLE_KEY, REVOKE_KEY
from keys.models import APIKey

ISSUE = "keys.issue_apikey"
ROTATE = "keys.rotate_apikey"
DISABLE = DISABLE_KEY.permission
REVOKE = REVOKE_KEY.permission
CHANGE_BUDGET = "keys.change_budget"
DELETE = "keys.delete_apikey"


def permitted_actions(user: Any, api_key: APIKey) -> dict[str, bool]:
    """Return what the user may do with this key in its current state."""
    is_open = api_key.revoked_at is None
    may_pause = is_open and user.has_perm(DISABLE)
    return {
        "rotate": is_open and user.has_perm(ROTATE),
        "disable": may_pause and api_key.disabled_at is None,
        "enable": may_pause and api_key.disabled_at is not None,
        "revoke": is_open and user.has_perm(REVOKE),
        "raise": is_open and user.has_perm(CHANGE_BUDGET),
        "delete": user.has_perm(DELETE) and is_deletable(api_key),
    }


def is_deletable(api_key: APIKey) -> bool:
    """Return whether a key has no usage. One with usage is revoked, never deleted: its usage records refer to it."""
    return not api_key.usage.exists()
