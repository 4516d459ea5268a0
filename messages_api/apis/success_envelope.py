"""Envelope of successful responses."""

from typing import Any


def success_envelope(data: Any) -> dict[str, Any]:
    """Return the success envelope of data."""
    return {"success": True, "code": "200", "message": "successful", "data": data}
