"""Large orders wait for a manager; customers cancel and resume their runs, and hand on who may follow one."""

import asyncio

import pytest

from example_app.settings import Settings
from gqlplugin.testing import GraphQLClient
from tests.example_app.support import MANAGER, RUN, as_manager, ended, place_order, served, trigger, waiting

pytestmark = pytest.mark.anyio

BOB = {"Authorization": "Bearer demo-bob"}
RESOLVE = """mutation ($id: ID!, $approved: Boolean!, $note: String) {
  resolveApproval(runId: $id, approved: $approved, note: $note) { id }
}"""
CANCEL = "mutation ($id: ID!) { cancelWorkflowRun(id: $id) { status } }"
RESUME = "mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id } }"
OUTCOME = """query ($id: ID!) {
  workflowRun(id: $id) { ... on OrderProcessingRun { output { isRefused note } } }
  orders { status }
  notifications { message }
}"""
PLACE_ONCE = """mutation ($key: String!, $cents: Int! = 450) {
  placeOrder(customerId: "alice", item: "Tea", totalCents: $cents, requestKey: $key) { id }
}"""
TRIGGER_FOR_HOLDER = """mutation ($order: String!) {
  triggerOrderProcessing(orderId: $order, customerId: "alice") { workflowRunId runToken }
}"""


async def waiting_run(client: GraphQLClient) -> str:
    run_id = await trigger(client, await place_order(client, cents=50_000))
    await waiting(client, run_id)
    return run_id


async def test_an_approved_order_is_processed(client: GraphQLClient) -> None:
    """The manager is told what is asked for; then the run goes on from there, with the manager's note."""
    order = await place_order(client, cents=50_000)
    run_id = await trigger(client, order)
    wait = await waiting(client, run_id)
    assert (wait["name"], wait["workflowName"]) == ("approval", "order-processing")
    assert wait["request"] == {"orderId": order, "customer": "Alice Archer", "item": "Tea", "totalCents": 50_000}
    await as_manager(client, RESOLVE, {"id": run_id, "approved": True, "note": "Enjoy."})
    run = await ended(client, run_id)
    names = [job["stackedName"].rpartition("/")[2] for job in run["jobs"]]
    assert (run["status"], names) == ("SUCCESS", ["process-order", "fetch-customer", "approval", "send-notification"])
    assert await client.run(OUTCOME, {"id": run_id}) == {
        "workflowRun": {"output": {"isRefused": False, "note": "Enjoy."}},
        "orders": [{"status": "PROCESSED"}],
        "notifications": [{"message": "Order processed: Tea (Enjoy.)"}],
    }


async def test_a_refused_order_ends_well(client: GraphQLClient) -> None:
    """The run succeeds with the refusal as its result, the order is refused, and the customer told why."""
    run_id = await waiting_run(client)
    await as_manager(client, RESOLVE, {"id": run_id, "approved": False, "note": "Too much tea."})
    assert (await ended(client, run_id))["status"] == "SUCCESS"
    assert await client.run(OUTCOME, {"id": run_id}) == {
        "workflowRun": {"output": {"isRefused": True, "note": "Too much tea."}},
        "orders": [{"status": "REFUSED"}],
        "notifications": [{"message": "Order refused: Tea (Too much tea.)"}],
    }


async def test_the_limit_is_a_setting(settings: Settings) -> None:
    """From there on orders wait; below it they don't."""
    async with served(Settings(settings.database, approval_from_cents=1000)) as client:
        assert (await ended(client, await trigger(client, await place_order(client, cents=999))))["status"] == "SUCCESS"
        await waiting(client, await trigger(client, await place_order(client, cents=1000)))


async def test_only_managers_approve(client: GraphQLClient) -> None:
    """Not who ordered, who may see the run; to other customers there is none; a second answer comes too late."""
    run_id = await waiting_run(client)
    answer = {"id": run_id, "approved": True}
    assert (await client.execute(RESOLVE, answer)).codes == ["FORBIDDEN"]
    assert (await client.execute(RESOLVE, answer, headers=BOB)).codes == ["NOT_FOUND"]
    assert (await client.run(RUN, {"id": run_id}))["workflowRun"]["status"] == "WAITING"
    await as_manager(client, RESOLVE, answer)
    assert (await client.execute(RESOLVE, answer, headers=MANAGER)).codes == ["FAILED_PRECONDITION"]


async def test_a_waiting_run_survives_a_restart(settings: Settings) -> None:
    """Started anew, the shop still knows what waits, and goes on with it."""
    async with served(settings) as client:
        run_id = await waiting_run(client)
    async with served(settings) as client:
        await as_manager(client, RESOLVE, {"id": run_id, "approved": True})
        assert (await ended(client, run_id))["status"] == "SUCCESS"


async def test_customers_cancel_and_resume_their_own_runs(client: GraphQLClient) -> None:
    """Others can't; a canceled run waits for nobody, and one that is resumed waits again."""
    run_id = await waiting_run(client)
    assert (await client.execute(CANCEL, {"id": run_id}, headers=BOB)).codes == ["NOT_FOUND"]
    assert (await client.run(CANCEL, {"id": run_id}))["cancelWorkflowRun"] == {"status": "CANCELED"}
    assert (await as_manager(client, "{ pendingWaitPoints { edges { cursor } } }"))["pendingWaitPoints"]["edges"] == []
    await client.run(RESUME, {"id": run_id})
    await waiting(client, run_id)


async def test_a_request_places_one_order(client: GraphQLClient) -> None:
    """The same request again has the same order, its key is the caller's own, and it can't be used for another."""
    first = (await client.run(PLACE_ONCE, {"key": "1"}))["placeOrder"]
    assert (await client.run(PLACE_ONCE, {"key": "1"}))["placeOrder"] == first
    assert (await client.execute(PLACE_ONCE, {"key": "1", "cents": 451})).codes == ["IDEMPOTENCY_KEY_REUSED"]
    others = [
        (await client.run(PLACE_ONCE, {"key": "2"}))["placeOrder"],
        (await client.execute(PLACE_ONCE, {"key": "1"}, headers=BOB)).data["placeOrder"],
    ]
    assert len({one["id"] for one in [first, *others]}) == 3
    await client.run("mutation ($id: String!) { cancelOrder(orderId: $id) { id } }", {"id": first["id"]})
    assert (await client.execute(PLACE_ONCE, {"key": "1"})).codes == ["NOT_FOUND"]
    assert len((await client.run("{ orders { id } }"))["orders"]) == 2


async def test_of_the_same_requests_at_once_one_places_the_order(client: GraphQLClient) -> None:
    """Each of the others has that order, or is told to ask once more, and then has it."""
    answers = await asyncio.gather(*(client.execute(PLACE_ONCE, {"key": "1"}) for _ in range(8)))
    assert {code for answer in answers for code in answer.codes} <= {"FAILED_PRECONDITION"}
    again = (await client.run(PLACE_ONCE, {"key": "1"}))["placeOrder"]
    assert {answer.data["placeOrder"]["id"] for answer in answers if not answer.codes} == {again["id"]}
    assert len((await client.run("{ orders { id } }"))["orders"]) == 1


async def test_a_run_token_is_for_one_run(client: GraphQLClient) -> None:
    """Who has it sees that run and may cancel it, but sees no other and can do nothing else."""
    other = await waiting_run(client)
    order = await place_order(client, cents=50_000)
    started = (await client.run(TRIGGER_FOR_HOLDER, {"order": order}))["triggerOrderProcessing"]
    run_id = started["workflowRunId"]
    await waiting(client, run_id)
    holder = {"Authorization": f"Bearer {started['runToken']}"}
    seen = await client.execute("query ($id: ID!) { workflowRun(id: $id) { status } }", {"id": run_id}, headers=holder)
    assert seen.data == {"workflowRun": {"status": "WAITING"}}
    assert (await client.execute(RUN, {"id": other}, headers=holder)).codes == ["NOT_FOUND"]
    assert (await client.execute("{ orders { id } }", headers=holder)).codes == ["FORBIDDEN"]
    answer = {"id": run_id, "approved": True}
    assert (await client.execute(RESOLVE, answer, headers=holder)).codes == ["FORBIDDEN"]
    assert (await client.execute(CANCEL, {"id": run_id}, headers=holder)).data == {
        "cancelWorkflowRun": {"status": "CANCELED"}
    }
