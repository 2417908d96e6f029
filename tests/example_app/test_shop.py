"""The shop, over HTTP: an order is placed, processed by the workflow, and its customer is notified."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from example_app.database import NotificationRow, shop_database
from example_app.settings import Settings
from example_app.workflows.jobs.send_notification import Notice, send_notification
from gqlplugin import ExecutionStatus, create_workflow, create_workflow_job, define_app
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.testing import GraphQLClient
from tests.example_app.support import PLACE, RUN, ended, place_order, served, trigger

pytestmark = pytest.mark.anyio


async def test_an_order_is_processed(client: GraphQLClient) -> None:
    """The mutation answers with the run's ID, the run succeeds with a typed result, and its jobs tell what they did."""
    order = await place_order(client)
    run = await ended(client, await trigger(client, order))
    assert (run["__typename"], run["status"], run["error"]) == ("OrderProcessingRun", "SUCCESS", None)
    assert run["input"] == {"orderId": order, "customerId": "alice"}
    alice = {"id": "alice", "name": "Alice Archer", "email": "alice@example.com"}
    assert run["output"] == {"orderId": order, "totalCents": 450, "customer": alice}
    assert [job["stackedName"] for job in run["jobs"]] == [
        "process-order",
        "process-order/fetch-customer",
        "process-order/send-notification",
    ]
    assert f"INFO Order {order} is processed, for manager-machine-user" in run["jobs"][0]["logs"][0]
    assert "INFO Customer alice is Alice Archer" in run["jobs"][1]["logs"][0]


async def test_the_customer_is_notified_and_the_order_marked(client: GraphQLClient) -> None:
    """What the run did can be read through GraphQL: one notification, and the order's new status."""
    order = await place_order(client)
    run_id = await trigger(client, order)
    await ended(client, run_id)
    data = await client.run('{ notifications { runId recipient message } orders(customerId: "alice") { id status } }')
    assert data == {
        "notifications": [{"runId": run_id, "recipient": "alice@example.com", "message": "Order processed: Tea"}],
        "orders": [{"id": order, "status": "PROCESSED"}],
    }
    bobs = await client.run(
        '{ notifications(recipient: "bob@example.com") { runId } orders(customerId: "bob") { id } customers { id } }'
    )
    assert bobs == {"notifications": [], "orders": [], "customers": [{"id": "alice"}, {"id": "bob"}]}


@pytest.mark.parametrize(
    ("order", "customer", "error"),
    [
        (None, "carol", "There is no customer 'carol'."),
        ("order-0", "alice", "Alice Archer has no order 'order-0'."),
        (None, "bob", "Bob Baker has no order"),
    ],
)
async def test_a_run_that_cannot_succeed_says_why(
    client: GraphQLClient, order: str | None, customer: str, error: str
) -> None:
    """An unknown customer, an unknown order and somebody else's order fail the run readably, and nobody is notified."""
    run = await ended(client, await trigger(client, order or await place_order(client), customer))
    assert run["status"] == "FAILED"
    assert error in run["error"]
    assert (await client.run("{ notifications { runId } }"))["notifications"] == []


async def test_a_customer_who_does_not_exist_cannot_order(client: GraphQLClient) -> None:
    """The mutation is refused with a code, and nothing is kept."""
    result = await client.execute(PLACE, {"customer": "carol"})
    assert result.codes == ["NOT_FOUND"]
    assert (await client.run("{ orders { id } }"))["orders"] == []


async def test_a_notification_is_sent_once_however_often_its_job_runs(settings: Settings) -> None:
    """The job that a crash makes run again finds its row in the outbox, and leaves it."""

    @create_workflow_job(name="notify-twice")
    async def notify_twice() -> None:
        for _ in range(2):
            await send_notification.trigger(Notice(message="Hello", recipient="alice@example.com"))

    workflow = create_workflow(name="notifying", main_job=notify_twice)
    database = shop_database(settings.data)
    app = define_app("twice", workflows=[workflow], databases=[database], env={"pace": 0})
    async with EmbeddedPlatform(settings.database) as platform, platform.execute(app):
        run_id = await workflow.trigger()
        runs = [run async for run in platform.watch(run_id)]
        jobs = (await platform.get_jobs([run_id]))[run_id]
        async with database.session() as session:
            assert (await session.scalars(select(NotificationRow.run_id))).all() == [run_id]
    assert runs[-1].status is ExecutionStatus.SUCCESS
    assert [job.name for job in jobs] == ["notify-twice", "send-notification", "send-notification"]


async def test_callers_see_their_own_runs(client: GraphQLClient) -> None:
    """Listing needs a caller and shows that caller's runs; others don't find them even by ID."""
    run_id = await trigger(client, await place_order(client))
    listing = "{ workflowRuns { edges { node { id } } } }"
    assert (await client.run(listing))["workflowRuns"]["edges"] == [{"node": {"id": run_id}}]
    bob = {"Authorization": "Bearer demo-bob"}
    others = await client.execute(listing, headers=bob)
    assert others.data == {"workflowRuns": {"edges": []}}
    assert (await client.execute(RUN, {"id": run_id}, headers=bob)).codes == ["NOT_FOUND"]
    del client.http.headers["Authorization"]
    assert (await client.execute(listing)).codes == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("header", ["Bearer secret", "Bearer demo-", "Basic demo-alice", "demo-alice", ""])
async def test_other_credentials_are_refused(client: GraphQLClient, header: str) -> None:
    """A header that isn't the demo's is refused, not taken for an anonymous caller."""
    result = await client.execute("{ customers { id } }", headers={"Authorization": header})
    assert result.codes == ["UNAUTHENTICATED"]


def test_settings_come_from_the_environment() -> None:
    """The files and the pace can be set; the data lies beside the runs."""
    assert Settings.from_environment({}) == Settings(Path("shop.sqlite"), 0.0, 50_000)
    settings = Settings.from_environment(
        {"SHOP_DATABASE": "/data/runs.db", "SHOP_PACE": "0.5", "SHOP_APPROVAL_FROM_CENTS": "10000"}
    )
    assert (settings.database, settings.data, settings.pace, settings.approval_from_cents) == (
        Path("/data/runs.db"),
        Path("/data/runs-data.sqlite"),
        0.5,
        10_000,
    )


async def test_the_shop_opens_again_with_its_data(settings: Settings) -> None:
    """What was there stays at the next start: orders, earlier runs, and customers as they are by then."""
    async with served(settings) as client:
        run_id = await trigger(client, await place_order(client))
        await ended(client, run_id)
        with closing(sqlite3.connect(settings.data)) as data, data:
            data.execute("UPDATE customers SET name = 'Bob Butcher' WHERE id = 'bob'")
    async with served(settings) as client:
        assert (await client.run(RUN, {"id": run_id}))["workflowRun"]["status"] == "SUCCESS"
        data = await client.run("{ orders { customerId } customers { name } }")
    assert data == {
        "orders": [{"customerId": "alice"}],
        "customers": [{"name": "Alice Archer"}, {"name": "Bob Butcher"}],
    }
