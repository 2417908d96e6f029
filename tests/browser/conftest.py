"""The shop in a process of its own, and Chromium."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.shop import Shop
from tests.browser.watching import Watched

OpenPage = Callable[..., Page]

SECONDS = 60
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")  # while it is there, no test of the same process can run an event loop
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("There is no chromium: run `make chromium`, or set CHROMIUM to its path.")
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "shop.sqlite", tmp_path / "server.log")
    yield shop
    shop.kill()


@pytest.fixture
def open_page(browser: Browser, shop: Shop) -> Iterator[OpenPage]:
    """Opens the page in a browser of its own; at the end of the test it must have kept to what every page keeps to."""
    watched: list[Watched] = []
    with ExitStack() as stack:

        def opened(caller: str = "alice", *, address: str = "", **options: object) -> Page:
            context = browser.new_context(reduced_motion="reduce", **options)  # type: ignore[arg-type]  # Playwright's
            stack.callback(context.close)
            context.set_default_timeout(SECONDS * 1000)
            page = context.new_page()
            watched.append(Watched(page, shop))
            page.goto(f"{shop.url}/{address}")
            if caller != "alice":
                page.get_by_label("You are").select_option(caller)
            return page

        yield opened
        for one in watched:
            one.check()
