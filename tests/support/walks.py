"""Measure which files a request walks through: `python -m tests.support.walks [--pairs]`.

Every walk runs in this process, without a server: API requests through the WSGI application, pages through Django's
test client, and the upstream is the scripted one. A profiler counts function calls between files of the project. It
skips frames of libraries: a function that Django or urllib3 invokes counts for the file above it. It does not see
the ledger's writer, which runs in a thread of the operating system.
"""

import argparse
import json
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import django

from tests.support import ROOT
from tests.support import environment as environment  # sets the environment of a test installation

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, RequestFactory, override_settings
from django.test.utils import setup_test_environment

from keys.access.snapshot_cache import cache
from keys.models import APIKey, Budget, ModelPrice, UsageRecord
from keys.usage import ledger
from messages_api.models import Route, RouteTarget, Upstream
from tests.support.largest_form import largest_form
from tests.upstream import ScriptedUpstream

PACKAGES = ("audit", "keys", "lib", "messages_api", "project", "staff")
HOST = "testserver"
BODY = {"model": "claude-3", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], "stream": True}


@dataclass
class Walk:
    """Files that were entered, and function calls between them."""

    files: set[str] = field(default_factory=set)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of function calls by the pair of calling and called file."""

    @property
    def both_ways(self) -> list[tuple[str, str]]:
        """Pairs of files that invoke each other."""
        return sorted(pair for pair in self.calls if pair[0] < pair[1] and pair[::-1] in self.calls)

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Count one function call. To be passed to `sys.setprofile`."""
        if event != "call" or frame.f_code.co_name == "<module>" or (file := _file_of(frame)) is None:
            return
        self.files.add(file)
        above, calling = frame.f_back, None
        while above is not None and (calling := _file_of(above)) is None:
            above = above.f_back
        if calling is not None and calling != file:
            self.calls[calling, file] += 1


_files: dict[str, str | None] = {}


def _file_of(frame: FrameType) -> str | None:
    """Return the frame's path inside the project, or None for libraries, tests and generated code."""
    path = frame.f_code.co_filename
    if path not in _files:
        inside = path.removeprefix(f"{ROOT}/")
        _files[path] = inside if inside.split("/")[0] in PACKAGES else None
    return _files[path]


@contextmanager
def walking() -> Iterator[Walk]:
    """Profile this thread, and the threads that start in the meantime."""
    walk = Walk()
    threading.setprofile(walk.profile)
    sys.setprofile(walk.profile)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def stream(raw_key: str) -> tuple[int, bytes]:
    """Send a streamed request through the WSGI application. Return its status and body."""
    from project.wsgi import application  # it loads the settings' checks and every URL: for a walk only

    headers: dict[str, Any] = {"HTTP_HOST": HOST, "HTTP_AUTHORIZATION": f"Bearer {raw_key}"}
    body = json.dumps(BODY).encode()
    environ = RequestFactory().post("/api/v1/messages", body, content_type="application/json", **headers).environ
    statuses: list[str] = []

    def start_response(status: str, *_: Any) -> Any:
        statuses.append(status)

    response: Any = application(environ, start_response)
    try:
        return int(statuses[0].split()[0]), b"".join(response)
    finally:
        getattr(response, "close", int)()  # a complete response is a list


# ---- the walks


class Installation:
    """A database with a route `*` to a scripted upstream, a price, and a superuser's test client."""

    def __init__(self, upstream_url: str) -> None:
        upstream = Upstream.objects.create(name="scripted", base_url=upstream_url, dialect="openai")
        RouteTarget.objects.create(route=Route.objects.create(pattern="*"), upstream=upstream)
        ModelPrice.objects.create(model_pattern="*", input_price=1_000_000, output_price=1_000_000)
        self.admin = User.objects.create_superuser("root")
        self.browser = Client(HTTP_HOST=HOST)
        self.browser.force_login(self.admin)

    def issue(self, *, budget: int | None = None, **fields: Any) -> tuple[APIKey, str]:
        """Issue a key, with a monthly budget in micro-USD where one is given."""
        values: dict[str, Any] = {"name": "app", "owner": self.admin} | fields
        api_key, raw_key = APIKey.objects.issue(**values)
        if budget is not None:
            Budget.objects.create(api_key=api_key, amount=budget, unit="usd", period="month")
        return api_key, raw_key

    def get(self, path: str) -> Walk:
        """Walk a page that was shown before."""
        self.browser.get(path)
        with walking() as walk:
            response = self.browser.get(path)
        assert response.status_code == 200, response.status_code
        return walk

    def post(self, path: str, **changes: Any) -> Walk:
        """Walk the POST of a page's form with some fields changed."""
        form = largest_form(self.browser.get(path).text) | changes
        with walking() as walk:
            response = self.browser.post(path, form)
        assert not response.context or not getattr(response.context.get("form"), "errors", None), response.text
        return walk


def streamed_request(installation: Installation) -> Walk:
    _, raw_key = installation.issue(
        requests_per_minute=100, tokens_per_minute=1_000_000, concurrent_requests=10, budget=10_000_000
    )
    stream(raw_key)
    with walking() as walk:
        status, _ = stream(raw_key)
    assert status == 200
    return walk


def issue_a_key(installation: Installation) -> Walk:
    budget = {"budgets-0-amount": "20", "budgets-TOTAL_FORMS": "1"}
    walk = installation.post("/admin/keys/apikey/add/", name="issued", **budget)
    assert Budget.objects.filter(api_key__name="issued").exists()
    return walk


def revoke_a_key(installation: Installation) -> Walk:
    api_key, _ = installation.issue(name="revoked")
    walk = installation.post(f"/admin/keys/apikey/{api_key.pk}/revoke/", typed_name="revoked")
    api_key.refresh_from_db()
    assert api_key.state == "revoked"
    return walk


def request_with_a_revoked_key(installation: Installation) -> Walk:
    api_key, raw_key = installation.issue()
    api_key.revoke(note="for the walk")
    return rejected_request(raw_key, 401)


def request_without_budget(installation: Installation) -> Walk:
    _, raw_key = installation.issue(budget=0)
    return rejected_request(raw_key, 402)


def rejected_request(raw_key: str, expected: int) -> Walk:
    """Walk a request of a key that no cache holds yet."""
    cache.clear()
    with walking() as walk:
        status, body = stream(raw_key)
    assert status == expected, body
    return walk


def page_of_a_key(installation: Installation) -> Walk:
    record = UsageRecord.objects.filter(status="completed")[0]
    return installation.get(f"/admin/keys/apikey/{record.api_key_id}/change/")


WALKS: dict[str, Callable[[Installation], Walk]] = {
    "(a) streamed request, warm": streamed_request,
    "(b1) POST that issues a key": issue_a_key,
    "(b2) POST that revokes a key": revoke_a_key,
    "(b3) request with a revoked key, cold": request_with_a_revoked_key,
    "(c) usage page": lambda installation: installation.get("/admin/usage/"),
    "(d) request rejected for its budget, cold": request_without_budget,
    "page of one key": page_of_a_key,
    "list of keys": lambda installation: installation.get("/admin/keys/apikey/"),
}


def main() -> None:
    """Walk all walks and print a table."""
    parser = argparse.ArgumentParser(description="Measure which files a request walks through.")
    parser.add_argument("--pairs", action="store_true", help="list the function calls between files as well")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    settings.WHITENOISE_AUTOREFRESH = True
    setup_test_environment()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    print(f"{'walk':43} files pairs calls  pairs that call each other")
    try:
        with ScriptedUpstream() as upstream, override_settings(CONFIG_CACHE_TTL_S=60.0):
            installation = Installation(upstream.url)
            for name, walk_of in WALKS.items():
                walk = walk_of(installation)
                names = ", ".join(f"{one} <-> {other}" for one, other in walk.both_ways)
                print(f"{name:43} {len(walk.files):5} {len(walk.calls):5} {walk.calls.total():5}  {names or '-'}")
                for (calling, called), count in walk.calls.items() if options.pairs else ():
                    print(f"    {calling} -> {called} ({count})")
    finally:
        ledger.close()


if __name__ == "__main__":
    main()
