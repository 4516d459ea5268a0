"""
Pictures of the admin for the docs, taken of an example installation that lives as long as this takes.

    python -m tests.browser.screenshots [--into docs/screenshots]

Each page of `PICTURES` as wide as a phone, a tablet and a desk, light and dark. Whatever keys are seen are of a
database that is gone afterwards.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import tests.support.environment

os.environ["DATABASE_URL"] = f"sqlite:///{tests.support.environment.STATE_DIR}/example.sqlite3"
os.environ["CONFIG_CACHE_TTL_S"] = "5"  # what pages promise
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from playwright.sync_api import Browser, sync_playwright  # noqa: E402

from tests.browser.conftest import ARGUMENTS, CHROMIUM, PASSWORD, PATIENCE_MS, Visitor  # noqa: E402
from tests.browser.places import BUSY, KEYS, Place, clicks, fills_in  # noqa: E402
from tests.browser.world import World, furnish  # noqa: E402
from tests.support.gateway import GatewayServer  # noqa: E402
from tests.upstream import ScriptedUpstream, replied  # noqa: E402

WIDTHS = {390: 844, 768: 1024, 1280: 900}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
CALLS_A_DAY = 60
MOST_BYTES = 6 * 1024 * 1024
# A picture of a key looks like one that works. This one says that it does not.
MARKED = """raw => {
  const example = "mgw_EXAMPLE" + "x".repeat(raw.length - 11);
  document.getElementById("raw-key").value = example;
  for (const each of document.querySelectorAll(".snippet pre"))
    each.textContent = each.textContent.replaceAll(raw, example);
}"""

PICTURES = [
    Place(name="overview", heading="Overview", address="/admin/"),
    Place(name="hygiene", heading="Key hygiene", address="/admin/hygiene/"),
    Place(name="keys", heading="API keys", address=KEYS),
    Place(name="key", heading="Support bot", address=f"{BUSY}change/"),
    Place(name="usage", heading="Usage", address="/admin/usage/?period=30d"),
    Place(name="rotate", heading="Rotate Support bot", address=f"{BUSY}rotate/"),
    Place(name="issue", heading="Issue an API key", address=f"{KEYS}add/", does=fills_in),
    Place(name="shown-once", heading="Key issued", does=clicks("Issue key")),
]


@contextmanager
def example() -> Iterator[tuple[World, GatewayServer]]:
    """The installation: its database, its model server, its gateway."""
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    root = User.objects.create_superuser("root", password=PASSWORD)
    with ScriptedUpstream() as upstream:
        upstream.queue(replied(), times=None)
        world = furnish(root, upstream_url=upstream.url, calls_a_day=CALLS_A_DAY)
        with GatewayServer() as server:
            yield world, server


def take(browser: Browser, world: World, server: GatewayServer, folder: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    visitor = Visitor(context.new_page(), server)
    visitor.signs_in()
    for place in PICTURES:
        place.reach(visitor, world)
        raw = visitor.page.locator("#raw-key")
        if raw.count():
            visitor.page.evaluate(MARKED, raw.input_value())
        for width, height in WIDTHS.items():
            for scheme in SCHEMES:
                visitor.page.set_viewport_size({"width": width, "height": height})
                visitor.page.emulate_media(color_scheme=scheme)
                visitor.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
                visitor.page.wait_for_timeout(150)  # a chart is drawn anew when the window has stood still
                visitor.page.screenshot(path=folder / f"{place.name}-{width}-{scheme}.png")
    context.close()
    if visitor.complaints:
        sys.exit("\n".join(visitor.complaints))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path(__file__).parents[2] / "docs" / "screenshots")
    folder: Path = parser.parse_args().into
    folder.mkdir(parents=True, exist_ok=True)
    with example() as (world, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        take(browser, world, server, folder)
        browser.close()
    size = sum(path.stat().st_size for path in folder.glob("*.png"))
    print(f"{len(list(folder.glob('*.png')))} pictures, {size / 1024 / 1024:.1f} MB in {folder}")
    if size > MOST_BYTES:
        sys.exit(f"that is more than {MOST_BYTES / 1024 / 1024:.0f} MB")


if __name__ == "__main__":
    main()
