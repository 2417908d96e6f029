"""Orders in the shop's page, from placing one to its end, whatever that is."""

import json

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.page import approvals, expect_job, expect_run, job, log_lines, open_log, order, press, run_section
from tests.browser.shop import Shop
from tests.browser.watching import body_of

RUNS = "{ workflowRuns(first: 50) { edges { node { id workflowName } } } orders { id item status } }"


def test_an_order_is_followed_to_its_end(shop: Shop, open_page: OpenPage) -> None:
    """Its jobs are shown as they run, nested and on an axis of time, till all have succeeded; logs on demand."""
    shop.start(pace=2)
    page = open_page()
    order(page)
    expect_job(page, "process-order", "suspended")
    expect_run(page, "success")
    for name in ("process-order", "fetch-customer", "send-notification"):
        expect_job(page, name, "success")
    expect(job(page, "process-order").locator("li.job .name")).to_have_text(["fetch-customer", "send-notification"])
    open_log(page, "fetch-customer")
    expect(log_lines(page, "fetch-customer")).to_have_count(1)
    expect(log_lines(page, "fetch-customer")).to_contain_text("INFO Customer alice is Alice Archer")
    expect(log_lines(page, "process-order")).to_have_count(0)  # as long as nobody asks for it
    main, first, second = (bar_of(page, name) for name in ("process-order", "fetch-customer", "send-notification"))
    assert main[0] <= first[0] < first[1] <= second[0] < second[1] <= main[1] + 1
    expect(page.get_by_role("region", name="Your orders").get_by_role("row").nth(1)).to_contain_text("processed")


def bar_of(page: Page, name: str) -> tuple[float, float]:
    """From where to where a bar is, on the axis."""
    box = job(page, name).locator(".bar").first.bounding_box()
    assert box is not None
    return box["x"], box["x"] + box["width"]


def test_a_large_order_goes_on_when_a_manager_approves(shop: Shop, open_page: OpenPage) -> None:
    """Its customer sees it wait, and may not answer; the manager sees who asks for what; then it goes on by itself."""
    shop.start()
    page, manager = open_page(), open_page("manager")
    order(page, "A bicycle", "500")
    expect_run(page, "waiting")
    expect_job(page, "approval", "waiting")
    expect(run_section(page)).to_contain_text("It waits for a manager's approval")
    expect(approvals(page)).to_be_hidden()
    card = approvals(manager).get_by_role("group", name="A bicycle, €500.00")
    expect(card).to_contain_text("Alice Archer")
    card.get_by_label("Note for the customer").fill("Ride safely.")
    card.get_by_role("button", name="Approve").click()
    expect_run(page, "success")
    expect_job(page, "approval", "success")
    expect(run_section(page)).to_contain_text("A manager approved the order. “Ride safely.”")
    expect(approvals(manager)).to_contain_text("Nothing waits for you.")
    expect(approvals(manager).get_by_role("heading", level=2)).to_be_focused()
    expect_run(manager, "success")


def test_a_large_order_ends_when_a_manager_refuses(shop: Shop, open_page: OpenPage) -> None:
    """The run ends well, the order is refused, and its customer reads why; one below the limit waits for nobody."""
    shop.start()
    page, manager = open_page(), open_page("manager")
    order(page, "A bench", "499.99")
    expect_run(page, "success")
    order(page, "A boat", "12000")
    expect_run(page, "waiting")
    approvals(manager).get_by_label("Note for the customer").fill("Too large for the pond.")
    press(manager, "Refuse")
    expect_run(page, "success")
    expect(run_section(page)).to_contain_text("A manager refused the order. “Too large for the pond.”")
    expect(page.get_by_role("region", name="Your orders").get_by_role("row").nth(1)).to_contain_text("refused")
    statuses = {one["item"]: one["status"] for one in shop.send(RUNS)["orders"]}
    assert statuses == {"A bench": "PROCESSED", "A boat": "REFUSED"}


def test_a_canceled_run_is_resumed(shop: Shop, open_page: OpenPage) -> None:
    """Its jobs stop, and what is said of it changes; resumed, it goes on to its end in the same place."""
    shop.start(pace=300)
    page = open_page()
    order(page)
    expect_job(page, "fetch-customer", "running")
    press(page, "Cancel this run")
    expect_run(page, "canceled")
    expect_job(page, "fetch-customer", "canceled")
    expect(page.get_by_role("button", name="Resume this run")).to_be_focused()
    shop.kill()
    shop.start(pace=0)
    press(page, "Resume this run")
    expect_run(page, "success")
    expect_job(page, "fetch-customer", "success")
    expect(run_section(page).get_by_role("button", name="this run")).to_have_count(0)
    assert len(shop.send(RUNS)["workflowRuns"]["edges"]) == 1


def test_a_failed_run_says_why(shop: Shop, open_page: OpenPage) -> None:
    """Its message is with the run and with the job that it comes from, and nowhere a traceback; it can be resumed."""
    shop.start()
    page = open_page()
    shop.process("order-0", customer="carol")
    expect_run(page, "failed")
    expect(page.locator("#run-outcome")).to_have_text("There is no customer 'carol'.")
    expect(job(page, "fetch-customer").locator(".error")).to_have_text("There is no customer 'carol'.")
    expect(job(page, "process-order").locator(":scope > .error")).to_be_hidden()
    press(page, "Resume this run")
    expect_run(page, "failed")
    assert "Traceback" not in page.content()


def test_a_refusal_is_told(shop: Shop, open_page: OpenPage) -> None:
    """What the shop refuses is said in its words, in a region that is read out at once, and the next order is taken."""
    shop.start()
    page = open_page()
    page.get_by_label("Item").evaluate("field => field.removeAttribute('maxlength')")
    order(page, "x" * 201)
    expect(page.get_by_role("alert").filter(has_text="item: ")).to_be_visible()
    assert shop.send(RUNS)["orders"] == []
    order(page)
    expect_run(page, "success")
    expect(page.locator("#problem")).to_have_text("")


def test_a_lost_answer_starts_nothing_twice(shop: Shop, open_page: OpenPage) -> None:
    """When answers are lost on their way, the page asks again with the same keys: one order, and one run."""
    shop.start()
    page = open_page()
    keys: dict[str, list[str]] = {"placeOrder": [], "triggerOrderProcessing": []}

    def lose_first(route: Route) -> None:
        query = str(body_of(route.request).get("query", ""))
        name = next((one for one in keys if one in query), None)
        if name is None:
            route.continue_()
            return
        keys[name].append(route.request.headers["idempotency-key"])
        answer = route.fetch()
        assert "errors" not in json.loads(answer.body())
        if len(keys[name]) == 1:
            route.abort()
        else:
            route.fulfill(response=answer)

    shop.was_killed = True  # to the page it looks like it
    page.route("**/graphql", lose_first)
    expect(page.get_by_label("Customer", exact=True)).to_have_value("alice")
    page.get_by_role("button", name="Place the order").dblclick()
    expect(page.locator("#news")).to_contain_text("is being processed")
    expect_run(page, "success")
    found = shop.send(RUNS)
    assert len(found["orders"]) == len(found["workflowRuns"]["edges"]) == 1
    # placed, lost; placed again, started, lost; placed again, started again
    assert (len(keys["placeOrder"]), len(keys["triggerOrderProcessing"])) == (3, 2)
    assert len({key for several in keys.values() for key in several}) == 1
