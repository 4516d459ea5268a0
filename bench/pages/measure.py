"""
Measures the pages of the admin on a filled database (see `fill`): the best of five, in wall time and CPU time.

    DATABASE_URL=… python -m bench.pages.measure [path …]
"""

import os
import sys
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402

PATHS = [
    "/admin/keys/apikey/",
    "/admin/keys/apikey/?o=9",
    "/admin/keys/apikey/?o=7&p=3",
    "/admin/keys/apikey/?state=active&finding=unlimited",
    "/admin/keys/apikey/?model=claude-3-opus",
    "/admin/keys/apikey/?q=team+42",
    "/admin/usage/",
    "/admin/usage/?period=30d",
    "/admin/",
    "/admin/hygiene/",
    "/admin/keys/team/",
]


def main() -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("collectstatic", interactive=False, verbosity=0)
    client = Client()
    client.force_login(User.objects.get(username="root"))
    for path in sys.argv[1:] or PATHS:
        took = [_measure(client, path) for _ in range(5)]
        clock, cpu, queries, size = (min(values) for values in zip(*took, strict=True))
        print(f"{clock * 1000:7.0f} ms  {cpu * 1000:7.0f} ms CPU  {queries:3} queries  {size / 1000:6.0f} kB  {path}")


def _measure(client: Client, path: str) -> tuple[float, float, int, int]:
    queries: list[str] = []

    def count(execute: Any, sql: str, *rest: Any) -> Any:  # Django's query log takes as long as a third of the queries
        queries.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        clock, cpu = time.perf_counter(), time.process_time()
        response = client.get(path)
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    if response.status_code != 200:
        sys.exit(f"{path}: {response.status_code}")
    return clock, cpu, len(queries), len(response.content)


if __name__ == "__main__":
    main()
