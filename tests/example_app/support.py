"""What the tests of the shop share: what its clients send, and waiting for what comes of it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from example_app.app import serve_shop
from example_app.settings import Settings
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.testing import GraphQLClient, serve

ALICE = {"Authorization": "Bearer demo-alice"}
MANAGER = {"Authorization": "Bearer demo-manager"}

PLACE = """mutation ($customer: String!, $cents: Int! = 450) {
  placeOrder(customerId: $customer, item: "Tea", totalCents: $cents) { id status }
}"""
TRIGGER = """mutation ($order: String!, $customer: String!) {
  triggerOrderProcessing(orderId: $order, customerId: $customer) { workflowRunId }
}"""
RUN = """query ($id: ID!) { workflowRun(id: $id) {
  __typename status error progress
  jobs { stackedName status logs error }
  ... on OrderProcessingRun {
    input { orderId customerId }
    output { orderId totalCents customer { id name email } }
  }
} }"""
WAITING = """{ pendingWaitPoints(name: "approval") { edges { node {
  id runId name workflowName ... on PendingApproval { request { orderId customer item totalCents } }
} } } }"""
FIRINGS = """query ($executor: String!) { executorJobs(executor: $executor) { edges { node {
  id status attempts argumentsHash error skipped workflowRunId jobs { stackedName logs }
} } } }"""


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[GraphQLClient]:
    """The shop with a client that is Alice."""
    async with serve(serve_shop(settings, EmbeddedPlatform(settings.database))) as client:
        client.http.headers.update(ALICE)
        yield client


async def as_manager(client: GraphQLClient, query: str, variables: Mapping[str, Any] | None = None) -> Any:
    """The data of an operation that the manager runs."""
    result = await client.execute(query, variables, headers=MANAGER)
    assert not result.errors, result.errors
    return result.data


async def place_order(client: GraphQLClient, customer: str = "alice", cents: int = 450) -> str:
    placed: dict[str, str] = (await client.run(PLACE, {"customer": customer, "cents": cents}))["placeOrder"]
    return placed["id"]


async def trigger(client: GraphQLClient, order: str, customer: str = "alice") -> str:
    data = await client.run(TRIGGER, {"order": order, "customer": customer})
    run_id: str = data["triggerOrderProcessing"]["workflowRunId"]
    return run_id


async def ended(client: GraphQLClient, run_id: str) -> dict[str, Any]:
    """A run, once it has ended; as the manager sees it, who sees all."""
    with anyio.fail_after(60):
        while True:
            run: dict[str, Any] = (await as_manager(client, RUN, {"id": run_id}))["workflowRun"]
            if run["status"] in ("SUCCESS", "FAILED"):
                return run
            await anyio.sleep(0.01)


async def waiting(client: GraphQLClient, run_id: str) -> dict[str, Any]:
    """Where a run waits, once it does; as the manager sees it."""
    with anyio.fail_after(60):
        while True:
            for edge in (await as_manager(client, WAITING))["pendingWaitPoints"]["edges"]:
                if edge["node"]["runId"] == run_id:
                    node: dict[str, Any] = edge["node"]
                    return node
            await anyio.sleep(0.01)


async def fired(client: GraphQLClient, executor: str, times: int = 1) -> list[dict[str, Any]]:
    """What an executor did, newest first, once it has ended that many firings."""
    with anyio.fail_after(60):
        while True:
            edges = (await as_manager(client, FIRINGS, {"executor": executor}))["executorJobs"]["edges"]
            if len(edges) >= times and all(edge["node"]["status"] in ("SUCCESS", "FAILED") for edge in edges):
                assert len(edges) == times, edges
                return [edge["node"] for edge in edges]
            await anyio.sleep(0.01)
