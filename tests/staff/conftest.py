import pytest


@pytest.fixture(autouse=True)
def collected(static_files: None) -> None:
    """Collect the static files: pages get their names from the manifest."""
