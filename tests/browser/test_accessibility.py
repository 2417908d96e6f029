"""The page for everybody: by keyboard alone, with a screen reader, in light and dark, on screens narrow and wide."""

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.page import approvals, expect_job, expect_run, open_log, order
from tests.browser.shop import ROOT, Shop

AXE = Path(os.environ.get("AXE", ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"))
Scheme = Literal["light", "dark"]

FOCUS = """() => {
  const one = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(one);
  const { width, height } = one.getBoundingClientRect();
  const name = one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent;
  const hasOutline = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  return { tag: one.tagName, name: name.trim(), isVisible: hasOutline && width > 0 && height > 0 };
}"""
KEEP_WHAT_IS_SAID = """() => {
  const region = document.getElementById("run-announcer");
  const { dataset } = document.documentElement;
  const keep = () => { dataset.said = `${dataset.said} ${region.textContent}`; };
  new MutationObserver(keep).observe(region, { childList: true, subtree: true });
}"""
HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .filter((one) => one.checkVisibility()).map((one) => Number(one.tagName[1]))"""


def check(page: Page) -> None:
    """No violation of the rules of axe, one h1 with the levels below it in order, and nothing beside the screen."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    result: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    found = [(one["id"], [node["target"] for node in one["nodes"]]) for one in result["violations"]]
    assert found == []
    assert len(result["passes"]) > 20
    levels: list[int] = page.evaluate(HEADINGS)
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels)), levels
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1600), ("dark", 1280), ("light", 320), ("dark", 320)])
def test_every_state_is_accessible(shop: Shop, open_page: OpenPage, scheme: Scheme, width: int) -> None:
    """Empty, done with its log, waiting, canceled, failed, refused to others, as the manager sees it, and cut off."""
    shop.start()
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    expect(page.locator("#run-empty")).to_contain_text("Place an order")
    expect(page.locator("#runs-others")).to_have_text("There are no runs yet.")
    check(page)
    order(page)
    expect_run(page, "success")
    open_log(page, "fetch-customer")
    check(page)
    order(page, "A bicycle", "799")
    expect_run(page, "waiting")
    expect_job(page, "approval", "waiting")
    assert page.evaluate("document.getAnimations().length") == 0  # who wants less motion gets none
    check(page)
    page.get_by_label("You are").select_option("manager")
    expect(approvals(page).get_by_role("group")).to_have_count(1)
    expect(page.get_by_role("region", name="Executors").get_by_role("article")).to_have_count(6)
    check(page)
    page.get_by_label("You are").select_option("alice")
    expect_run(page, "waiting")
    page.get_by_role("button", name="Cancel this run").click()
    expect_run(page, "canceled")
    check(page)
    shop.process("order-0", customer="carol")
    page.goto(shop.url)
    expect_run(page, "failed")
    check(page)
    shop.kill()
    expect(page.locator("#connection")).to_contain_text("Connection lost")
    order(page)
    expect(page.locator("#problem")).to_contain_text("The shop did not answer.")
    check(page)


def test_the_keyboard_is_enough(shop: Shop, open_page: OpenPage) -> None:
    """Placing, reading a log, canceling, resuming and approving work by keys alone, and the focus is always seen."""
    shop.start()
    page = open_page()
    expect(page.get_by_label("Customer", exact=True)).to_have_value("alice")
    reach(page, "Skip to the content")
    page.keyboard.press("Enter")
    reach(page, "Item")
    page.keyboard.press("Control+A")
    page.keyboard.type("A bicycle")
    reach(page, "Price in EUR")
    page.keyboard.press("Control+A")
    page.keyboard.type("799")
    page.keyboard.press("Enter")
    expect_run(page, "waiting")
    reach(page, "Cancel this run")
    page.keyboard.press("Enter")
    expect_run(page, "canceled")
    expect(page.get_by_role("button", name="Resume this run")).to_be_focused()
    page.keyboard.press("Space")
    expect_run(page, "waiting")
    expect(page.get_by_role("button", name="Cancel this run")).to_be_focused()
    reach(page, "Log of fetch-customer (1)")
    page.keyboard.press("Space")
    expect(page.get_by_label("Log of fetch-customer", exact=True)).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_label("Log of fetch-customer", exact=True)).to_be_hidden()
    reach(page, "You are")
    page.keyboard.press("t")  # the manager
    expect(approvals(page).get_by_role("group")).to_have_count(1)
    reach(page, "Approve order-")
    page.keyboard.press("Enter")
    expect_run(page, "success")
    expect(approvals(page).get_by_role("heading", level=2)).to_be_focused()


def reach(page: Page, name: str) -> None:
    """Move the focus to a control, as Tab does; all that it passes shows that it has the focus."""
    for _ in range(150):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUS)
        if focused["tag"] == "BODY":  # the browser's own controls come next, and then the first one again
            continue
        assert focused["isVisible"], focused
        if " ".join(focused["name"].split()).startswith(name):
            return
    raise AssertionError(f"Tab does not reach {name!r}.")


def test_changes_are_read_out(shop: Shop, open_page: OpenPage) -> None:
    """What happens to the run that is shown is said in a polite live region, in words."""
    shop.start()
    page = open_page()
    page.evaluate(KEEP_WHAT_IS_SAID)
    order(page, "A bicycle", "799")
    expect_run(page, "waiting")
    expect(page.locator("#run-announcer")).to_have_attribute("role", "status")
    expect_said(page, "The run waits for a manager's answer.")
    shop.send(
        "mutation ($run: ID!) { resolveApproval(runId: $run, approved: true) { id } }",
        {"run": page.url.partition("#run-")[2]},
        caller="manager",
    )
    expect_said(page, "send-notification has succeeded.")
    expect_said(page, "The run has succeeded.")


def expect_said(page: Page, text: str) -> None:
    expect(page.locator("html")).to_have_attribute("data-said", re.compile(re.escape(text)))
