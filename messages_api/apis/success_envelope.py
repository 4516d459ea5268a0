"""The envelope of whatever went well."""

from typing import Any


def success_envelope(data: Any) -> dict[str, Any]:
    """Put data into the envelope of a success."""
    return {"success": True, "code": "200", "message": "successful", "data": data}
