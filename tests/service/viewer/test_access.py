"""Whom the page is usable for: screens, keyboards, readers, other languages."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.service.viewer.browsing import Opened, OpenViewer, make_api
from tests.service.viewer.fake_api import FakeApi, problem

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PHONE = {"width": 375, "height": 812}
CLIPPED = """() => [...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect();
  const hidden = element.matches('.visually-hidden, .skip, option') || !box.width;
  const mine = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  return mine && !hidden && (element.scrollWidth > element.clientWidth + 1
    && getComputedStyle(element).display !== 'inline'
    || box.right > innerWidth + 1 || box.left < -1);
}).map(element => element.outerHTML.slice(0, 120))"""
COUNT_CONTROLS = """() => [...document.querySelectorAll(
  'a[href], button, summary, select, [role=application], input:not([type=file])')
].filter(element => element.checkVisibility()).length"""
LENGTHEN = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (text.data.trim()) text.data = text.data.replace(/[a-z]{4,}/g, word => word + 'ungsweise');
  }
}"""


def busy_api() -> FakeApi:
    api = make_api(warnings=("The objective power contradicts the resolution.",))
    api.finish(api.add_job())
    reason = problem("corrupt-slide", "The slide is damaged", 422, "It ends within a tile.")
    api.fail(api.add_job(), reason)
    api.add_job(state="running", stage="score", done=30, total=120, eta_s=90)
    return api


@pytest.fixture
def axe(bundle: None, viewer_folder: Path) -> str:
    """The accessibility checker's source."""
    return (viewer_folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def violations(viewer: Opened, axe: str) -> list[dict[str, Any]]:
    """Of WCAG 2.2 A and AA, with the elements."""
    viewer.page.evaluate(axe)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    answer = viewer.page.evaluate(f"axe.run(document, {json.dumps(rules)})")
    assert len(answer["passes"]) > 10
    return [
        {"rule": found["id"], "where": [node["html"][:200] for node in found["nodes"]]}
        for found in answer["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_meets_wcag_aa(open_viewer: OpenViewer, axe: str, scheme: str):
    viewer = open_viewer("?result=res_000001", api=busy_api(), color_scheme=scheme)
    viewer.wait_until_drawn()
    expect(viewer.page.locator("#jobs .job")).to_have_count(3)
    assert violations(viewer, axe) == []
    viewer.page.keyboard.press("?")
    expect(viewer.page.get_by_role("dialog")).to_be_visible()
    assert violations(viewer, axe) == []


@pytest.mark.parametrize("query", ["", "?result=res_000001"])
def test_a_phone_scrolls_down_only(open_viewer: OpenViewer, query: str):
    viewer = open_viewer(query, api=busy_api(), viewport=PHONE, is_mobile=True, has_touch=True)
    expect(viewer.page.locator("#jobs .job")).to_have_count(3)
    if query:
        viewer.wait_until_drawn()
    assert viewer.page.evaluate("document.documentElement.scrollWidth") == 375
    assert viewer.page.evaluate(CLIPPED) == []


@pytest.mark.parametrize("width", [375, 900, 1280])
def test_longer_words_fit(open_viewer: OpenViewer, width: int):
    window = {"width": width, "height": 800}
    viewer = open_viewer("?result=res_000001", api=busy_api(), viewport=window)
    viewer.wait_until_drawn()
    expect(viewer.page.locator("#jobs .job")).to_have_count(3)
    viewer.page.evaluate("document.querySelector('details').open = true")
    viewer.page.evaluate(LENGTHEN)
    assert viewer.page.evaluate(CLIPPED) == []
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_everything_and_shows_where_it_is(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001", api=busy_api())
    viewer.wait_until_drawn()
    expect(viewer.page.locator("#jobs .job")).to_have_count(3)
    wanted = viewer.page.evaluate(COUNT_CONTROLS)
    reached = set()
    for _ in range(wanted):
        viewer.page.keyboard.press("Tab")
        name, outline = viewer.page.evaluate(
            """() => [document.activeElement.outerHTML.slice(0, 300),
                 getComputedStyle(document.activeElement).outlineStyle]"""
        )
        reached.add(name)
        assert outline == "solid", name
    assert len(reached) == wanted


def test_shortcuts_can_be_switched_off(open_viewer: OpenViewer):
    viewer = open_viewer("?result=res_000001")
    page = viewer.page
    viewer.wait_until_drawn()
    page.keyboard.press("?")
    page.get_by_label("Use single-key shortcuts").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("h")
    expect(page.get_by_label("Show the heatmap")).to_be_checked()
