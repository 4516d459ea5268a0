"""Budgets: reservations, status and alerts."""
