"""Measurements: rounds in which all candidates are measured alternately."""
