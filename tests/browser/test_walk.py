"""Every page that people see, as wide as a phone, a tablet and a desk, light and dark: quiet, inside, and readable."""

from collections.abc import Iterator
from typing import Literal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from tests.browser.conftest import Visitor
from tests.browser.places import WALK
from tests.browser.test_pages import CUT_FIELDS
from tests.browser.world import World, furnish
from tests.support.gateway import GatewayServer
from tests.upstream import ScriptedUpstream, replied

Scheme = Literal["light", "dark"]
# Each differs from the one before in one thing, since a browser takes its time to follow.
LOOKS: list[tuple[int, Scheme]] = [(390, "light"), (390, "dark"), (768, "dark")]
LOOKS += [(768, "light"), (1280, "light"), (1280, "dark")]
READ = [LOOKS[0], LOOKS[-1]]
"""Where axe reads a page, if not at length: that takes longest by far, and what it finds differs by theme and width."""
FOLLOWS_WITHIN_S = 5
# A frame later, what follows the size of the window has followed.
LAYOUT = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => ({
  wide: document.documentElement.scrollWidth,
  widest: [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
    .filter((each) => !each.closest(".scroll, .results, .tabular"))
    .map((each) => `${each.tagName}.${each.className}`).slice(0, 3),
  cut: %s.concat([...document.querySelectorAll(".card dd, .meter, .facts dd, .badge, .button")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.textContent)),
}))"""


@pytest.fixture
def pages(transactional_db: None, static_files: None) -> Iterator[GatewayServer]:
    """A gateway with optional two-factor authentication."""
    with GatewayServer(ADMIN_TWO_FACTOR="optional") as server:
        yield server


@pytest.fixture
def world(root: User, upstream: ScriptedUpstream) -> World:
    upstream.queue(replied(), times=None)
    return furnish(root, upstream_url=upstream.url, calls_a_day=3)


@pytest.mark.timeout(600)
def test_every_page_is_quiet_fits_and_can_be_read(world: World, visitor: Visitor, axe: str, at_length: bool) -> None:
    read = LOOKS if at_length else READ
    faults: list[str] = []
    visitor.page.emulate_media(reduced_motion="reduce")

    for place in WALK:
        place.reach(visitor, world)
        for width, scheme in LOOKS:
            found = _looks(visitor, width=width, scheme=scheme)
            if (width, scheme) in read:
                found += visitor.finds_by_axe(axe)
            faults += [f"{place.name} at {width} px, {scheme}: {fault}" for fault in found + visitor.complaints]
            visitor.complaints = []

    assert faults == []


def _looks(visitor: Visitor, *, width: int, scheme: Scheme) -> list[str]:
    """What is wrong with how the page looks."""
    page: Page = visitor.page
    if page.viewport_size != {"width": width, "height": 900}:
        page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    layout = page.evaluate(LAYOUT % CUT_FIELDS)
    for _ in range(FOLLOWS_WITHIN_S * 10):  # charts follow the window when the browser has time for it
        if layout["wide"] <= width:
            break
        page.wait_for_timeout(100)
        layout = page.evaluate(LAYOUT % CUT_FIELDS)
    faults = [f"{field} is cut off" for field in layout["cut"]]
    if layout["wide"] > width:
        faults.append(f"it is {layout['wide']} px wide: {layout['widest']}")
    return faults
