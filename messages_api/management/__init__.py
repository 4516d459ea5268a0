"""Management commands of the Messages API."""
