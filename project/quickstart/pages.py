"""Collection of static files after a change."""

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command

MANIFEST = "staticfiles.json"


def collect() -> bool:
    """Collect the static files if one is newer than the last collection. Return whether they were collected."""
    manifest = Path(settings.STATIC_ROOT) / MANIFEST
    if manifest.exists() and manifest.stat().st_mtime >= max(_changes(), default=0):
        return False
    call_command("collectstatic", interactive=False, verbosity=0)
    return True


def _changes() -> Iterator[float]:
    for finder in get_finders():
        for path, storage in finder.list(ignore_patterns=None):
            yield Path(storage.path(path)).stat().st_mtime
