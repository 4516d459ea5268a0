"""Verification of figures: records, hours, reports and exports agree."""
