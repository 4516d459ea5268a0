"""Real parts, fixtures and helpers that tests of several packages share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder of manage.py."""
