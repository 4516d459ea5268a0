"""Seed a new database: tables, API keys, and a route `*` to the lean upstream. Also collect the static files.

`python -m tests.soak.seed <url>` prints the raw keys as JSON.
"""

import json
import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402  # models require the loaded apps
from django.core.management import call_command  # noqa: E402

from keys.models import APIKey  # noqa: E402
from messages_api.models import Route, RouteTarget, Upstream  # noqa: E402

KEYS = 8


def seed(upstream_url: str) -> list[str]:
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    owner = User.objects.create_superuser("soak", password="a good password of the soak")
    upstream = Upstream(name="lean", base_url=upstream_url, dialect="openai")
    upstream.set_credential("the-upstream-credential")
    upstream.save()
    RouteTarget.objects.create(route=Route.objects.create(pattern="*"), upstream=upstream)
    return [APIKey.objects.issue(name=f"soak {number}", owner=owner)[1] for number in range(KEYS)]


if __name__ == "__main__":
    print(json.dumps(seed(sys.argv[1])))
