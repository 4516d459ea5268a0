"""Alerts: rules, the conditions that open incidents, and their messages."""
