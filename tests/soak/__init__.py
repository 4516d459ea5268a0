"""Soak tests: scenarios of failures under load."""
