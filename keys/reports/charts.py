"""Data of the charts that `charts.js` draws, from the rows of the table below each chart."""

from collections.abc import Sequence
from typing import Any

from keys.reports.usage_report import ReportRow

OUTCOMES = {
    "completed": ("Completed", 1),
    "client_disconnected": ("Client disconnected", 2),
    "client_errors": ("Client errors", 6),
    "upstream_errors": ("Upstream errors", 3),
    "rejected": ("Rejected", 4),
    "in_flight": ("In flight", 5),
}
"""Figures of the totals that have a series, with its label and the number of its color in the style sheet."""


def requests_per_day(days: Sequence[ReportRow]) -> dict[str, Any]:
    """Return a stacked bar for each day, divided by outcome."""
    return {
        "type": "bar",
        "stacked": True,
        "unit": "requests",
        "labels": [f"{row.subject:%d %b}" for row in days],
        "series": [
            {"name": label, "color": color, "values": [getattr(row.totals, name) for row in days]}
            for name, (label, color) in OUTCOMES.items()
        ],
    }
