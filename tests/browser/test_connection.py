"""The server dies and comes back, and the page goes on where it was."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.page import expect_job, expect_run, log_lines, open_log, order
from tests.browser.shop import Shop
from tests.browser.watching import body_of

ANSWER = """mutation ($run: ID!) { resolveApproval(runId: $run, approved: true) { id } }"""
JOBS = ("process-order", "fetch-customer", "send-notification")


def test_a_killed_server_loses_and_repeats_nothing(shop: Shop, open_page: OpenPage) -> None:
    """Killed while the run waits and while a job runs: the page says so, goes on, and shows each line of a log once."""
    shop.start()
    page = open_page()
    asked: list[dict[str, object]] = []
    page.on("request", lambda request: asked.append(body_of(request)))
    order(page, "A bicycle", "799")
    expect_run(page, "waiting")
    open_log(page, "fetch-customer")
    expect(log_lines(page, "fetch-customer")).to_have_count(1)
    run_id = page.url.partition("#run-")[2]

    shop.kill()
    expect_lost(page)
    shop.start(pace=300)
    expect_found(page)
    expect_run(page, "waiting")
    shop.send(ANSWER, {"run": run_id}, caller="manager")
    expect_job(page, "send-notification", "running")

    shop.kill()
    expect_lost(page)
    shop.start(pace=0)
    expect_run(page, "success")
    expect_found(page)
    for name in JOBS[::2]:
        open_log(page, name)
    recorded = {job["name"]: job["logs"] for job in shop.wait_for(run_id, "SUCCESS")["jobs"]}
    for name in JOBS:
        said = [line.split(maxsplit=1)[1] for line in recorded[name]]
        assert len(said) == len(set(said)) == 1
        expect(log_lines(page, name)).to_have_count(1)
        expect(log_lines(page, name)).to_contain_text(said)
    snapshots, *others = [one["variables"] for one in asked if "subscription" in str(one.get("query"))]
    assert isinstance(snapshots, dict)
    assert snapshots["isSnapshot"]
    assert len(others) >= 3
    assert all(one["after"] and not one["isSnapshot"] for one in others if isinstance(one, dict))


def test_an_order_during_a_break_is_placed_once(shop: Shop, open_page: OpenPage) -> None:
    """While nobody answers the page tries, then says so; tried again by hand, the same order has the same key."""
    shop.start()
    page = open_page()
    keys: list[str] = []
    page.on("request", lambda request: keys.extend(filter(None, [request.headers.get("idempotency-key")])))
    expect(page.get_by_label("Customer", exact=True)).to_have_value("alice")
    shop.kill()
    order(page)
    expect(page.locator("#problem")).to_contain_text("The shop did not answer.")
    assert len(keys) > 1
    shop.start()
    order(page)
    expect_run(page, "success")
    assert len(set(keys)) == 1
    assert len(shop.send("{ orders { id } }")["orders"]) == 1


def expect_lost(page: Page) -> None:
    region = page.locator("#connection")
    expect(region).to_have_text("Connection lost, trying again. What you see may be out of date.")
    expect(region).to_have_attribute("role", "status")


def expect_found(page: Page) -> None:
    expect(page.locator("body")).not_to_have_class("away")
    expect(page.locator("#connection")).not_to_contain_text("lost")
