"""Columns of the explorer: chosen in the URL, and remembered in a cookie of the browser."""

from collections.abc import Iterable

from django.http import HttpRequest

PARAMETER = "cols"
COOKIE = "explorer_columns"
COOKIE_AGE_S = 365 * 86_400
DEFAULT_NAME = "default"
FIRST = "created"
"""Always shown: it links to the page of the request."""

COLUMNS = {
    "outcome": "Outcome",
    "http": "HTTP",
    "model": "Model",
    "key": "Key",
    "team_name": "Team",
    "owner_name": "Owner",
    "tokens_in": "Input tokens",
    "tokens_cached": "Cached tokens",
    "tokens_out": "Output tokens",
    "cost": "Cost",
    "time_to_first_token": "Time to first token",
    "latency": "Latency",
    "upstream": "Upstream",
    "upstream_model": "Upstream model",
    "error_type": "Error type",
    "api": "API format",
    "is_streamed": "Streamed",
    "source": "Usage source",
    "session_id": "Session",
    "agent_id": "Agent",
    "client_tags": "Tags",
    "client_ip": "Client IP",
    "client_request_id": "Client request ID",
    "upstream_request_id": "Upstream request ID",
    "message_id": "Message ID",
    "id": "Request ID",
}
"""Label by name: a field of usage records or a method of their ModelAdmin."""
DEFAULT = ("outcome", "model", "key", "tokens_in", "tokens_out", "cost", "time_to_first_token", "latency")


def chosen(request: HttpRequest) -> tuple[str, ...]:
    """Return the columns in the order of the registry: of the URL, else of the cookie, else the default."""
    text = request.GET.get(PARAMETER) or request.COOKIES.get(COOKIE) or ""
    return parse(text) or DEFAULT


def parse(text: str) -> tuple[str, ...]:
    """Return the known columns that a text names, in the order of the registry. Empty if it names none."""
    names = set(text.split(",", maxsplit=100))
    return tuple(name for name in COLUMNS if name in names)


def text_of(names: Iterable[str]) -> str:
    """Return the text form of a choice, which `parse` reads."""
    found = tuple(name for name in COLUMNS if name in set(names))
    return DEFAULT_NAME if found in ((), DEFAULT) else ",".join(found)
