"""What the server imports: everything that serves requests, and not the catalog of prices."""

import os
import subprocess
import sys

from tests.project.test_architecture import modules
from tests.support import ROOT

CATALOG = ("genai_prices", "pydantic", "keys.pricing.catalog.genai_")
ONLY_FOR_THE_CATALOG = "project.management.commands.sync_prices"

PROGRAM = """
import importlib, sys
import django
django.setup()
from django.urls import get_resolver
get_resolver().url_patterns
for name in sys.argv[1:]:
    importlib.import_module(name)
print("\\n".join(sorted(sys.modules)))
"""


def test_no_module_but_the_command_loads_the_catalog() -> None:
    names = [name for name in modules() if not name.startswith(CATALOG) and name != ONLY_FOR_THE_CATALOG]
    # Programs that act when they are imported, and gunicorn's settings.
    names = [name for name in names if not name.endswith((".__main__", "project.server.gunicorn", "fake_upstream"))]

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *names, "project.wsgi"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr[-2_000:]
    loaded = ended.stdout.splitlines()
    assert {"keys.pages.price_update", "keys.pricing.catalog.command", "messages_api.gateway.request"} <= set(loaded)
    assert [name for name in loaded if name.startswith(CATALOG)] == []
