"""
Who may do what in the admin: a row for each of its addresses. A new page without a row fails the tests.

A role is a letter, and a row says whom a page is open to. Nobody else gets more than a refusal.
"""

from dataclasses import dataclass

ROLES = {
    "A": "Administrator",
    "K": "Key manager",
    "N": "Analyst",
    "U": "Auditor",
    "S": None,  # of staff without a role
}
ALL = "AKNUS"
NOBODY = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    opens: str
    """Who sees it."""
    writes: str = NOBODY
    """Whose POST may change something."""
    status: int = 200
    """What those get who it opens to."""
    otherwise: int = 403


def looked_at(opens: str) -> dict[str, Page]:
    """The pages of a table that nobody changes."""
    return {
        "changelist": Page(opens=opens),
        "add": Page(opens=NOBODY),
        "history": Page(opens=opens),
        "delete": Page(opens=NOBODY),
        "change": Page(opens=opens),
    }


def edited(*, sees: str, writes: str, adds: str | None = None, deletes: str | None = None) -> dict[str, Page]:
    adds, deletes = writes if adds is None else adds, writes if deletes is None else deletes
    return {
        "changelist": Page(opens=sees, writes=writes),
        "add": Page(opens=adds, writes=adds),
        "history": Page(opens=sees),
        "delete": Page(opens=deletes, writes=deletes),
        "change": Page(opens=sees, writes=writes),
    }


TABLES: dict[str, dict[str, Page]] = {
    "auth_group": edited(sees="AU", writes="A"),
    "auth_user": edited(sees="AU", writes="A") | {"password_change": Page(opens="A", writes="A")},
    "keys_apikey": edited(sees="AKU", writes="AK", deletes="A")
    | {
        "find": Page(opens="AKU", status=405),
        "preview": Page(opens="AK", status=405),
        "import": Page(opens="AK", writes="AK"),
        **dict.fromkeys(("rotate", "disable", "revoke", "temporary_increase"), Page(opens="AK", writes="AK")),
        "enable": Page(opens="AK", writes="AK", status=302),  # it is not disabled
    },
    "keys_modelprice": edited(sees="AKNU", writes="A"),
    "keys_team": edited(sees="AKNU", writes="A"),
    "keys_usagerecord": looked_at("AKNU"),
    "messages_api_route": edited(sees="AU", writes="A") | {"preview": Page(opens="AU")},
    "messages_api_upstream": edited(sees="AU", writes="A") | {"test": Page(opens="A", writes="A")},
    "staff_auditentry": looked_at("AU"),
    "staff_failedlogin": looked_at("AU") | {"changelist": Page(opens="AU", writes="A")},
    "staff_login": looked_at("AU"),
}

PAGES: dict[str, Page] = {
    "index": Page(opens=ALL),
    "login": Page(opens=ALL, status=302),  # who is in, is led on
    "logout": Page(opens=ALL, status=405),
    "password_change": Page(opens=ALL, writes=ALL),
    "password_change_done": Page(opens=ALL),
    "autocomplete": Page(opens=NOBODY),  # no form asks for it
    "jsi18n": Page(opens=ALL),
    "view_on_site": Page(opens=ALL, status=404),
    "hygiene": Page(opens="AKU"),
    "usage": Page(opens="AKNU"),
    "usage_csv": Page(opens="AN"),
    "two_factor": Page(opens=ALL, writes=ALL),
    "two_factor_verify": Page(opens=ALL, status=302),  # nobody here has a code left to give
    "two_factor_image": Page(opens=ALL, status=404),  # nobody is setting one up
    **{f"{table}_{page}": row for table, rows in TABLES.items() for page, row in rows.items()},
}

APP_LISTS = {"auth": "AU", "keys": "AKNU", "messages_api": "AU", "staff": "AU"}

ACTIONS: dict[str, dict[str, str]] = {
    "auth_group": {"delete_selected": "A"},
    "auth_user": {"delete_selected": "A"},
    "keys_apikey": dict.fromkeys(
        ("disable_selected", "enable_selected", "revoke_selected", "extend_selected", "export_selected"), "AK"
    ),
    "keys_team": {"disable_selected": "A", "enable_selected": "A"},
    "messages_api_route": {"delete_selected": "A"},
    "messages_api_upstream": {"delete_selected": "A"},
    "staff_failedlogin": {"unlock_selected": "A"},
}
