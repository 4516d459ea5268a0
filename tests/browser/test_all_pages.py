"""All pages in three widths and both themes: no console errors, no overflow, accessible."""

from collections.abc import Iterator
from typing import Literal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from tests.browser.conftest import Visitor
from tests.browser.page_walk import PAGES
from tests.browser.sample_data import SampleData, create_sample_data
from tests.browser.test_hostile_texts import CUT_FIELDS
from tests.support.gateway import GatewayServer
from tests.upstream import ScriptedUpstream, replied

Scheme = Literal["light", "dark"]
# Each differs from the one before in one property only: the browser needs time to follow.
VIEWPORTS: list[tuple[int, Scheme]] = [(390, "light"), (390, "dark"), (768, "dark")]
VIEWPORTS += [(768, "light"), (1280, "light"), (1280, "dark")]
AXE_VIEWPORTS = [VIEWPORTS[0], VIEWPORTS[-1]]
"""Where axe checks a page, unless `--at-length` is given: it is slow, and its findings differ by theme and width."""
SETTLES_WITHIN_S = 5
# Two frames later, the layout has followed the size of the window.
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
    """Start a gateway with optional two-factor authentication."""
    with GatewayServer(ADMIN_TWO_FACTOR="optional") as server:
        yield server


@pytest.fixture
def sample(root: User, upstream: ScriptedUpstream) -> SampleData:
    upstream.queue(replied(), times=None)
    return create_sample_data(root, upstream_url=upstream.url, requests_per_day=3)


@pytest.mark.timeout(600)
def test_every_page_has_no_errors_fits_and_is_accessible(
    sample: SampleData, visitor: Visitor, axe: str, at_length: bool
) -> None:
    read = VIEWPORTS if at_length else AXE_VIEWPORTS
    faults: list[str] = []
    visitor.page.emulate_media(reduced_motion="reduce")

    for visit in PAGES:
        visit.open_in(visitor, sample)
        for width, scheme in VIEWPORTS:
            found = _layout_faults(visitor, width=width, scheme=scheme)
            if (width, scheme) in read:
                found += visitor.axe_violations(axe)
            faults += [f"{visit.name} at {width} px, {scheme}: {fault}" for fault in found + visitor.console_errors]
            visitor.console_errors = []

    assert faults == []


def _layout_faults(visitor: Visitor, *, width: int, scheme: Scheme) -> list[str]:
    """Return the layout faults of the page."""
    page: Page = visitor.page
    if page.viewport_size != {"width": width, "height": 900}:
        page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    layout = page.evaluate(LAYOUT % CUT_FIELDS)
    for _ in range(SETTLES_WITHIN_S * 10):  # charts follow the window with a delay
        if layout["wide"] <= width:
            break
        page.wait_for_timeout(100)
        layout = page.evaluate(LAYOUT % CUT_FIELDS)
    faults = [f"{field} is cut off" for field in layout["cut"]]
    if layout["wide"] > width:
        faults.append(f"it is {layout['wide']} px wide: {layout['widest']}")
    return faults
