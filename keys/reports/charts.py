"""What `charts.js` draws, as data: the rows of a table that stands beside it."""

from collections.abc import Sequence
from typing import Any

from keys.reports.usage import Row

OUTCOMES = {
    "completed": "Completed",
    "left": "Left by the caller",
    "errors": "Errors",
    "rejected": "Refused",
    "running": "Running",
}


def requests_by_day(days: Sequence[Row]) -> dict[str, Any]:
    """A bar for each day, by how its calls ended."""
    return {
        "type": "bar",
        "stacked": True,
        "unit": "requests",
        "labels": [f"{row.subject:%d %b}" for row in days],
        "series": [
            {"name": name, "values": [getattr(row.sums, column) for row in days]} for column, name in OUTCOMES.items()
        ],
    }
