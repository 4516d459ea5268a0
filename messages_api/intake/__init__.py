"""Intake of requests: body, validation, and information about the client."""
