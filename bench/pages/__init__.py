"""Filled databases and the time of admin pages."""
