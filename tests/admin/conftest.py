"""Pytest configuration of the admin tests."""

import pytest


@pytest.fixture(autouse=True)
def collected(static_files: None) -> None:
    """Collect the static files: pages name them by the manifest."""
