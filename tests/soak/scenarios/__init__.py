"""Scenarios of the soak tests."""
