"""
How long the pages of the admin take on a filled database (see `fill`): the best of five, by the clock and by the CPU.

    DATABASE_URL=… python -m bench.measure [address …]
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

ADDRESSES = [
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
    for address in sys.argv[1:] or ADDRESSES:
        took = [_once(client, address) for _ in range(5)]
        clock, cpu, queries, size = (min(values) for values in zip(*took, strict=True))
        print(
            f"{clock * 1000:7.0f} ms  {cpu * 1000:7.0f} ms CPU  {queries:3} queries  {size / 1000:6.0f} kB  {address}"
        )


def _once(client: Client, address: str) -> tuple[float, float, int, int]:
    queries: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:  # Django's own log of queries takes as long as a third of them
        queries.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        clock, cpu = time.perf_counter(), time.process_time()
        answer = client.get(address)
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    if answer.status_code != 200:
        sys.exit(f"{address}: {answer.status_code}")
    return clock, cpu, len(queries), len(answer.content)


if __name__ == "__main__":
    main()
