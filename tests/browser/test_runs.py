"""Earlier runs, and whose they are."""

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.page import approvals, expect_job, expect_run, run_section
from tests.browser.shop import Shop


def test_an_earlier_run_is_chosen(shop: Shop, open_page: OpenPage) -> None:
    """The list has pages; a link shows a run's timeline and moves the focus there, and the back button goes back."""
    shop.start()
    failed = shop.process("order-0", customer="carol")
    shop.wait_for(failed, "FAILED")
    latest = [shop.process(shop.place()) for _ in range(8)][-1]
    shop.wait_for(latest, "SUCCESS")
    page = open_page()
    runs = page.get_by_role("region", name="Your workflow runs")
    expect(runs.get_by_role("row")).to_have_count(9)  # with the head
    expect(page).to_have_url(f"{shop.url}/#run-{latest}")
    expect(runs.get_by_role("button", name="Newer")).to_be_disabled()
    runs.get_by_role("button", name="Older").click()
    expect(runs.get_by_role("row")).to_have_count(2)
    runs.get_by_role("link", name=failed[-8:]).click()
    expect_run(page, "failed")
    expect_job(page, "fetch-customer", "failed")
    expect(run_section(page).get_by_role("heading", level=2)).to_be_focused()
    expect(runs.locator("[aria-current=true]")).to_contain_text(failed[-8:])
    page.go_back()
    expect_run(page, "success")
    runs.get_by_role("button", name="Newer").click()
    expect(runs.locator("[aria-current=true]")).to_contain_text(latest[-8:])


def test_a_run_that_is_resumed_elsewhere_goes_on_here(shop: Shop, open_page: OpenPage) -> None:
    """A page that shows the end of a run notices that it goes on."""
    shop.start(pace=300)
    run_id = shop.process(shop.place())
    page = open_page()
    expect_job(page, "fetch-customer", "running")
    shop.send("mutation ($id: ID!) { cancelWorkflowRun(id: $id) { id } }", {"id": run_id})
    expect_run(page, "canceled")
    shop.send("mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id } }", {"id": run_id}, caller="manager")
    expect_run(page, "running")
    expect_job(page, "fetch-customer", "running")


def test_callers_do_not_see_each_others_runs(shop: Shop, open_page: OpenPage) -> None:
    """Bob finds neither Alice's run nor her order, not even with her link; the manager sees it, and may answer it."""
    shop.start()
    run_id = shop.process(shop.place("A boat", cents=99_000))
    shop.wait_for(run_id, "WAITING")
    alice = open_page(address=f"#run-{run_id}")
    expect_run(alice, "waiting")
    bob = open_page("bob")
    expect(bob.get_by_role("region", name="Your workflow runs")).to_contain_text("There are no runs yet.")
    expect(bob.get_by_role("region", name="Your orders")).to_contain_text("There are no orders yet.")
    bob.goto(f"{shop.url}/#run-{run_id}")
    expect(bob.locator("#run-problem")).to_have_text("There is no such workflow run.")
    expect(bob.get_by_role("button", name="Cancel this run")).to_have_count(0)
    for name in ("Waiting for your approval", "Executors"):
        expect(bob.get_by_role("region", name=name)).to_have_count(0)
    assert "A boat" not in bob.content()
    manager = open_page("manager")
    expect(approvals(manager).get_by_role("group")).to_have_count(1)
    expect(manager.get_by_role("region", name="Executors").get_by_role("article")).to_have_count(6)
    alice.get_by_label("You are").select_option("bob")
    expect(alice.locator("#run-empty")).to_contain_text("Place an order")
    expect(alice).to_have_url(f"{shop.url}/")
