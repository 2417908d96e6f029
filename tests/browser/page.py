"""The parts of the shop's page, as who uses it finds them: by their roles and names."""

import re

from playwright.sync_api import Locator, Page, expect


def order(page: Page, item: str = "A pound of tea", price: str = "4.50") -> None:
    expect(page.get_by_label("Customer", exact=True)).not_to_have_value("")
    page.get_by_label("Item").fill(item)
    page.get_by_label("Price in EUR").fill(price)
    page.get_by_role("button", name="Place the order").click()


def run_section(page: Page) -> Locator:
    return page.get_by_role("region", name=re.compile("^Workflow run"))


def expect_run(page: Page, status: str) -> None:
    expect(page.locator("#run-status")).to_have_text(status)


def job(page: Page, name: str) -> Locator:
    """The row of a job, with those of the jobs that it triggered."""
    rows = run_section(page).get_by_role("list", name="Jobs").locator("li.job")
    return rows.filter(has=page.locator(f":scope > .job-row .name:text-is('{name}')"))


def expect_job(page: Page, name: str, status: str) -> None:
    expect(job(page, name).locator(".job-status").first).to_have_text(status)


def open_log(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Log of {name}").click()


def log_lines(page: Page, name: str) -> Locator:
    return page.get_by_label(f"Log of {name}", exact=True).get_by_role("listitem")


def approvals(page: Page) -> Locator:
    return page.get_by_role("region", name="Waiting for your approval")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
