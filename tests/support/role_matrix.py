"""
Permissions of each role on each URL of the admin. A new page without a row fails the tests.

A role is a letter. A row lists the roles that may open a page; all others are rejected.
"""

from dataclasses import dataclass

ROLES = {
    "A": "Administrator",
    "K": "Key manager",
    "N": "Analyst",
    "U": "Auditor",
    "S": None,  # staff without a role
}
ALL = "AKNUS"
NO_ROLE = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    opens: str
    """Roles that may open it."""
    writes: str = NO_ROLE
    """Roles whose POST may change data."""
    status: int = 200
    """Status for roles that may open it."""
    otherwise: int = 403


def read_only(opens: str) -> dict[str, Page]:
    """Return the pages of a read-only table."""
    return {
        "changelist": Page(opens=opens),
        "add": Page(opens=NO_ROLE),
        "history": Page(opens=opens),
        "delete": Page(opens=NO_ROLE),
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
    "keys_bill": read_only("ANU")
    | {
        "add": Page(opens="A", writes="A"),
        "delete": Page(opens="A", writes="A"),
        "lines": Page(opens="ANU"),
        **dict.fromkeys(("reconcile", "keys", "sign_off"), Page(opens="A", writes="A", status=405, otherwise=405)),
    },
    "keys_modelprice": edited(sees="AKNU", writes="A"),
    "keys_negotiatedfactor": edited(sees="AKNU", writes="A"),
    "keys_team": edited(sees="AKNU", writes="A"),
    "keys_usagerecord": read_only("AKNU"),
    "messages_api_route": edited(sees="AU", writes="A") | {"preview": Page(opens="AU")},
    "messages_api_upstream": edited(sees="AU", writes="A") | {"test": Page(opens="A", writes="A")},
    "staff_auditentry": read_only("AU"),
    "staff_failedlogin": read_only("AU") | {"changelist": Page(opens="AU", writes="A")},
    "staff_login": read_only("AU"),
}

PAGES: dict[str, Page] = {
    "index": Page(opens=ALL),
    "login": Page(opens=ALL, status=302),  # signed-in users are redirected
    "logout": Page(opens=ALL, status=405),
    "password_change": Page(opens=ALL, writes=ALL),
    "password_change_done": Page(opens=ALL),
    "autocomplete": Page(opens=NO_ROLE),  # no form uses it
    "jsi18n": Page(opens=ALL),
    "view_on_site": Page(opens=ALL, status=404),
    "hygiene": Page(opens="AKU"),
    "price_update": Page(opens="A", writes="A"),
    "rerating": Page(opens="AU", writes="A"),
    "usage": Page(opens="AKNU"),
    "usage_csv": Page(opens="AN"),
    "two_factor": Page(opens=ALL, writes=ALL),
    "two_factor_verify": Page(opens=ALL, status=302),  # no user here has a code to enter
    "two_factor_image": Page(opens=ALL, status=404),  # no user here sets it up
    **{f"{table}_{page}": row for table, rows in TABLES.items() for page, row in rows.items()},
}

APP_LISTS = {"auth": "AU", "keys": "AKNU", "messages_api": "AU", "staff": "AU"}

ACTIONS: dict[str, dict[str, str]] = {
    "auth_group": {"delete_selected": "A"},
    "auth_user": {"delete_selected": "A"},
    "keys_apikey": dict.fromkeys(
        ("disable_selected", "enable_selected", "revoke_selected", "extend_selected", "export_selected"), "AK"
    ),
    "keys_negotiatedfactor": {"delete_selected": "A"},
    "keys_team": {"disable_selected": "A", "enable_selected": "A"},
    "messages_api_route": {"delete_selected": "A"},
    "messages_api_upstream": {"delete_selected": "A"},
    "staff_failedlogin": {"unlock_selected": "A"},
}
