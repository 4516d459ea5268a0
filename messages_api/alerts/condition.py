"""A condition that opens an incident of a rule."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertCondition:
    """What is wrong now, or was since the last evaluation."""

    subject: str
    """Identifies the condition among those of its rule: one incident is open per subject."""
    title: str
    detail: str = ""
    path: str = ""
    """URL path of the page that shows the cause."""
    value: float | None = None
    """In the unit of the rule's kind."""
    began_at: datetime | None = None
    """None: noticed now."""
    ended_at: datetime | None = None
    """None: it continues."""
