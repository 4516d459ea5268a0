"""Management commands of the Messages API, one per module."""
