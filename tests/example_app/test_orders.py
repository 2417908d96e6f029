"""An order that is placed and processed in one transaction: both, or neither."""

import anyio
import pytest

from example_app.auth import auth
from example_app.database import shop_database
from example_app.resolvers.place_order import PlacedOrder, PlaceOrder, place_and_process_order
from example_app.resolvers.reading import orders
from example_app.settings import Settings
from example_app.workflows.order_processing import order_processing
from gqlplugin import FailedPreconditionError, ResolverContext, create_asgi, create_resolver, define_app
from gqlplugin.runs import ExecutionFilter
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from tests.example_app.support import ALICE, RUN, ended, place_order

pytestmark = pytest.mark.anyio

PLACE_AND_PROCESS = """mutation ($customer: String! = "alice") {
  placeAndProcessOrder(customerId: $customer, item: "Tea", totalCents: 450) {
    order { id customerId item totalCents status } workflowRunId
  }
}"""


async def started(client: GraphQLClient, run_id: str) -> None:
    """Wait for a run that starts a moment after the answer."""
    with anyio.fail_after(60):
        while True:
            if (await client.execute(RUN, {"id": run_id})).codes != ["NOT_FOUND"]:
                return
            await anyio.sleep(0.01)


async def test_an_order_is_placed_and_processed_at_once(client: GraphQLClient) -> None:
    """The answer has the order as it was kept and the run's ID, and the caller's run finds and processes the order."""
    placed = (await client.run(PLACE_AND_PROCESS))["placeAndProcessOrder"]
    order = placed["order"]
    assert order == {"id": order["id"], "customerId": "alice", "item": "Tea", "totalCents": 450, "status": "PLACED"}
    await started(client, placed["workflowRunId"])
    run = await ended(client, placed["workflowRunId"])
    assert (run["status"], run["output"]["orderId"]) == ("SUCCESS", order["id"])
    assert "for manager-machine-user" in run["jobs"][0]["logs"][0]
    assert (await client.run("{ orders { id status } }"))["orders"] == [{"id": order["id"], "status": "PROCESSED"}]


async def test_orders_are_listed_by_age(client: GraphQLClient) -> None:
    """The oldest is first, as IDs sort by time."""
    placed = [await place_order(client) for _ in range(5)]
    assert [order["id"] for order in (await client.run("{ orders { id } }"))["orders"]] == placed


@create_resolver(name="placeAndFail", operation="mutation")
async def place_and_fail(ctx: ResolverContext[PlaceOrder]) -> PlacedOrder:
    """Do the same, and fail when everything is done but the commit; tells the ID of the run in the error."""
    placed: PlacedOrder = await place_and_process_order.body(ctx)
    raise FailedPreconditionError(placed.workflow_run_id)


async def test_an_order_that_is_not_kept_is_not_processed(settings: Settings) -> None:
    """A resolver that fails after both leaves neither: no order, and no run, not even a later one."""
    app = define_app(
        "failing",
        auth=auth,
        workflows=[order_processing],
        resolvers=[place_and_process_order, place_and_fail, orders],
        databases=[shop_database(settings.data)],
        env={"pace": 0, "approval_from_cents": 50_000},
    )
    platform = MemoryPlatform()
    async with serve(create_asgi(app, platform)) as client:
        failed = await client.execute(PLACE_AND_PROCESS.replace("placeAndProcessOrder", "placeAndFail"))
        assert failed.codes == ["FAILED_PRECONDITION"]
        placed = (await client.run(PLACE_AND_PROCESS))["placeAndProcessOrder"]
        await started(client, placed["workflowRunId"])  # what was to start before it would have started by now
        runs = (await platform.list_executions(ExecutionFilter(), first=10)).executions
        listed = (await client.run("{ orders { id } }"))["orders"]
    assert listed == [{"id": placed["order"]["id"]}]
    assert [run.id for run in runs] == [placed["workflowRunId"]]
    assert failed.errors[0]["message"] != placed["workflowRunId"]


async def test_an_unknown_customer_starts_nothing(client: GraphQLClient) -> None:
    """The mutation is refused, and there is no run."""
    assert (await client.execute(PLACE_AND_PROCESS, {"customer": "carol"})).codes == ["NOT_FOUND"]
    listed = await client.execute("{ workflowRuns { edges { cursor } } orders { id } }", headers=ALICE)
    assert listed.data == {"workflowRuns": {"edges": []}, "orders": []}
