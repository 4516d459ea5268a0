"""Take the screenshots of the docs, from a temporary installation with sample data.

    python -m tests.browser.screenshots [--into docs/screenshots]

Each page of `PICTURES` in the widths of a phone, a tablet and a desktop, light and dark. The keys in them are from a
database that is deleted afterwards.
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
os.environ["CONFIG_CACHE_TTL_S"] = "5"  # as in production: the pages state it
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from playwright.sync_api import Browser, sync_playwright  # noqa: E402

from tests.browser.conftest import ARGUMENTS, CHROMIUM, PASSWORD, TIMEOUT_MS, Visitor  # noqa: E402
from tests.browser.page_walk import BUSY, KEYS, PageVisit, click_button, fill_issue_form  # noqa: E402
from tests.browser.sample_data import SampleData, create_sample_data  # noqa: E402
from tests.support.gateway import GatewayServer  # noqa: E402
from tests.upstream import ScriptedUpstream, replied  # noqa: E402

WIDTHS = {390: 844, 768: 1024, 1280: 900}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
REQUESTS_PER_DAY = 60
MAX_BYTES = 6 * 1024 * 1024
# A screenshot must not show a key that looks valid.
MASK_RAW_KEY = """raw => {
  const example = "mgw_EXAMPLE" + "x".repeat(raw.length - 11);
  document.getElementById("raw-key").value = example;
  for (const each of document.querySelectorAll(".snippet pre"))
    each.textContent = each.textContent.replaceAll(raw, example);
}"""

PICTURES = [
    PageVisit(name="overview", heading="Overview", url="/admin/"),
    PageVisit(name="hygiene", heading="Key hygiene", url="/admin/hygiene/"),
    PageVisit(name="keys", heading="API keys", url=KEYS),
    PageVisit(name="key", heading="Support bot", url=f"{BUSY}change/"),
    PageVisit(name="usage", heading="Usage", url="/admin/usage/?period=30d"),
    PageVisit(name="rotate", heading="Rotate Support bot", url=f"{BUSY}rotate/"),
    PageVisit(name="issue", heading="Issue an API key", url=f"{KEYS}add/", action=fill_issue_form),
    PageVisit(name="shown-once", heading="Key issued", action=click_button("Issue key")),
]


@contextmanager
def example() -> Iterator[tuple[SampleData, GatewayServer]]:
    """Start the installation: database, scripted upstream and gateway."""
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    root = User.objects.create_superuser("root", password=PASSWORD)
    with ScriptedUpstream() as upstream:
        upstream.queue(replied(), times=None)
        sample = create_sample_data(root, upstream_url=upstream.url, requests_per_day=REQUESTS_PER_DAY)
        with GatewayServer() as server:
            yield sample, server


def take(browser: Browser, sample: SampleData, server: GatewayServer, folder: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    visitor = Visitor(context.new_page(), server)
    visitor.log_in()
    for visit in PICTURES:
        visit.open_in(visitor, sample)
        raw = visitor.page.locator("#raw-key")
        if raw.count():
            visitor.page.evaluate(MASK_RAW_KEY, raw.input_value())
        for width, height in WIDTHS.items():
            for scheme in SCHEMES:
                visitor.page.set_viewport_size({"width": width, "height": height})
                visitor.page.emulate_media(color_scheme=scheme)
                visitor.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
                visitor.page.wait_for_timeout(150)  # a chart is redrawn some time after the window was resized
                visitor.page.screenshot(path=folder / f"{visit.name}-{width}-{scheme}.png")
    context.close()
    if visitor.console_errors:
        sys.exit("\n".join(visitor.console_errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path(__file__).parents[2] / "docs" / "screenshots")
    folder: Path = parser.parse_args().into
    folder.mkdir(parents=True, exist_ok=True)
    with example() as (sample, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        take(browser, sample, server, folder)
        browser.close()
    size = sum(path.stat().st_size for path in folder.glob("*.png"))
    print(f"{len(list(folder.glob('*.png')))} pictures, {size / 1024 / 1024:.1f} MB in {folder}")
    if size > MAX_BYTES:
        sys.exit(f"that is more than {MAX_BYTES / 1024 / 1024:.0f} MB")


if __name__ == "__main__":
    main()
