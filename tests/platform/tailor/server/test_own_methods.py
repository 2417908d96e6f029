"""What gqlplugin adds to the contract, canceling, wait points and batches; and how the vendor's clients see it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from gqlplugin.app import define_app
from gqlplugin.errors import JobFailedError
from gqlplugin.job import create_workflow_job
from gqlplugin.runs import RetryPolicy
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.platform.tailor.server.support import UNKNOWN, Client, Served, Shop, shop_server

pytestmark = pytest.mark.anyio

OWN = {
    "StartWorkflows": {"workflowId": UNKNOWN},
    "CancelWorkflowExecution": {"executionId": UNKNOWN},
    "ResolveWaitPoint": {"executionId": UNKNOWN, "key": "approval", "result": "1"},
    "ListWaitPoints": {},
}

approval = define_wait_point("approval", payload=int, result=bool)


@create_workflow_job(name="ask")
async def ask(input: int) -> bool:
    return await approval.wait(input)


@create_workflow_job(name="hang")
async def hang(input: int) -> int:
    if input:
        await asyncio.Event().wait()
    return input


def desk() -> Shop:
    """An app whose runs wait, or hang."""
    shop = Shop()
    shop.app = define_app(
        "desk",
        workflows=[
            create_workflow(name="asking", main_job=ask),
            create_workflow(name="hanging", main_job=hang),
            create_workflow(name="guarded", main_job=hang, permission=lambda user, invoker: user.id == "alice"),
        ],
    )
    return shop


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The desk, served."""
    async with shop_server(shop=desk()) as server:
        yield server


@pytest.fixture(params=["JSON", "binary"])
def client(request: pytest.FixtureRequest, served: Served) -> Client:
    """A client of each kind."""
    return served.binary if request.param == "binary" else served.client


async def waiting(client: Client, cents: int = 5, **more: Any) -> str:
    """A run that waits."""
    run_id = await client.start("asking", cents, **more)
    await client.in_status(run_id, "WAITING")
    return run_id


async def test_a_run_is_canceled(client: Client) -> None:
    """It ends; the vendor's clients see it as failed, and ours as canceled, and its jobs too."""
    run_id = await client.start("hanging", 1)
    await client.in_status(run_id, "RUNNING")
    answer = await client.ok("CancelWorkflowExecution", {"executionId": run_id.upper()})
    assert answer == {"executionId": run_id}
    run = await client.in_status(run_id, "FAILED")
    assert run["details"]["status"] == "CANCELED"
    assert [job["status"] for job in run["jobExecutions"]] == ["STATUS_FAILED"]
    assert "details" not in run["jobExecutions"][0]
    [job] = (await client.run(run_id, view="VIEW_FULL"))["jobExecutions"]
    assert job["details"]["status"] == "CANCELED"
    function = (await client.ok("GetFunctionExecution", {"executionId": job["id"]}))["execution"]
    assert function["status"] == "STATUS_FAILED"
    assert function["error"] == {"name": "CANCELED", "message": "The run was canceled."}
    reply = await client.call("CancelWorkflowExecution", {"executionId": run_id})
    assert (reply.status, reply.code) == (400, "failed_precondition")


@pytest.mark.parametrize("method", ["TestResumeWorkflow", "ResumeWorkflowExecution"])
async def test_a_canceled_run_is_resumed_by_the_contract(served: Served, method: str) -> None:
    """To the vendor's client it has failed, and what has failed can be resumed."""
    run_id = await waiting(served.client)
    await served.client.ok("CancelWorkflowExecution", {"executionId": run_id})
    await served.client.in_status(run_id, "FAILED")
    assert await served.client.ok(method, {"executionId": run_id}) == {"executionId": run_id}
    await served.client.in_status(run_id, "WAITING")


async def test_canceled_runs_are_found_by_their_status(served: Served) -> None:
    """Clients of ours ask for CANCELED; FAILED are those that failed."""
    run_id = await waiting(served.client)
    await served.client.ok("CancelWorkflowExecution", {"executionId": run_id})
    found = {}
    for status in ("CANCELED", "FAILED"):
        condition = {"field": "status", "operator": "OPERATOR_EQ", "value": status}
        answer = await served.client.ok("ListWorkflowExecutions", {"filter": {"condition": condition}})
        found[status] = [one["id"] for one in answer.get("executions", [])]
    assert found == {"CANCELED": [run_id], "FAILED": []}


async def test_a_wait_is_a_job_in_status_waiting(client: Client) -> None:
    """Clients of ours see it so, and that it is a wait, and what for."""
    run_id = await waiting(client)
    run = await client.run(run_id)
    assert [(job["stackedJobName"], job["status"]) for job in run["jobExecutions"]] == [
        ("ask", "STATUS_SUSPEND"),
        ("ask/approval", "STATUS_WAITING"),
    ]
    job, wait = [one["details"] for one in (await client.run(run_id, view="VIEW_FULL"))["jobExecutions"]]
    assert (wait["isWaitPoint"], wait["name"], wait["status"], wait["input"]) == (True, "approval", "WAITING", "5")
    assert "isWaitPoint" not in job
    identifier = run["jobExecutions"][1]["id"]
    function = (await client.ok("GetFunctionExecution", {"executionId": identifier}))["execution"]
    assert (function["status"], function["details"]["status"]) == ("STATUS_RUNNING", "WAITING")


async def test_what_a_client_of_the_contract_sees_of_a_wait(client: Client) -> None:
    """A client that does not announce that it knows WAITING sees a run that runs, in every answer, to its end."""
    vendor = Client(client.http, binary=client.binary, ours=False)
    run_id = await waiting(client)
    run = await vendor.run(run_id)
    [listed] = (await vendor.ok("ListWorkflowExecutions"))["executions"]
    for one in (run, listed):
        assert one["status"] == "STATUS_RUNNING"
        assert [job["status"] for job in one["jobExecutions"]] == ["STATUS_SUSPEND"] * 2
    await client.ok("ResolveWaitPoint", {"executionId": run_id, "key": "approval", "result": "true"})
    assert (await vendor.in_status(run_id, "SUCCESS"))["finishedAt"]


async def test_runs_are_found_by_the_status_they_are_shown_in(served: Served) -> None:
    """A client of the contract that asks for RUNNING gets what waits, too, and for FAILED what was canceled."""
    ids: dict[str, list[str]] = {"RUNNING": [], "FAILED": []}
    for _ in range(2):
        ids["RUNNING"].append(await waiting(served.client))
        ids["FAILED"].append(await waiting(served.client))
        await served.client.ok("CancelWorkflowExecution", {"executionId": ids["FAILED"][-1]})
        ids["RUNNING"].append(await served.client.start("hanging", 1))
        await served.client.in_status(ids["RUNNING"][-1], "RUNNING")
    vendor = Client(served.client.http, ours=False)
    for (number, status), direction, size in product(((3, "RUNNING"), (5, "FAILED")), ("ASC", "DESC"), (1, 2, 3, 100)):
        condition = {"field": "status", "operator": "OPERATOR_EQ", "value": number}
        message = {"filter": {"and": [{"condition": condition}]}, "pageDirection": f"PAGE_DIRECTION_{direction}"}
        seen: list[str] = []
        token = ""
        while token or not seen:
            page = await vendor.ok("ListWorkflowExecutions", {**message, "pageSize": size, "pageToken": token})
            assert page["totalCount"] == str(len(ids[status]))
            assert {run["status"] for run in page["executions"]} == {f"STATUS_{status}"}
            seen += [run["id"] for run in page["executions"]]
            token = page.get("nextPageToken", "")
        assert seen == ids[status][:: 1 if direction == "ASC" else -1]


async def test_waits_are_no_functions(client: Client) -> None:
    """A listing of all function executions has the jobs alone, and counts them alone."""
    await waiting(client)
    answer = await client.ok("ListFunctionExecutions")
    assert [one["scriptName"] for one in answer["executions"]] == ["ask"]
    assert answer["totalCount"] == "1"


async def test_what_a_client_of_the_contract_sees_of_a_retry() -> None:
    """Between its tries a run is RUNNING to a client that does not know PENDING_RETRY."""

    @create_workflow_job(name="never-main")
    async def never() -> None:
        raise JobFailedError("No.")

    shop = Shop()
    policy = RetryPolicy(max_retries=1, initial_backoff=timedelta(hours=1), max_backoff=timedelta(hours=1))
    shop.app = define_app("desk", workflows=[create_workflow(name="never", main_job=never, retry_policy=policy)])
    async with shop_server(shop=shop) as served:
        run_id = await served.client.start("never")
        await served.client.in_status(run_id, "PENDING_RETRY")
        for binary in (False, True):
            vendor = Client(served.client.http, binary=binary, ours=False)
            assert (await vendor.run(run_id))["status"] == "STATUS_RUNNING"


@pytest.mark.parametrize("method", ["CreateApplication", "UpsertWorkflow", "ListTailorDBServices"])
async def test_what_deploys_is_refused(served: Served, method: str) -> None:
    """A method that only the vendor's platform has is answered by one sentence that says what this server is for."""
    reply = await served.client.call(method)
    assert (reply.status, reply.code) == (404, "unimplemented")
    assert reply.message == f"This server runs workflows and does not deploy: it has no method {method!r}."


async def test_a_wait_is_listed_and_answered(client: Client) -> None:
    """The answer is what the run goes on with; a second one, one for another wait or point, is refused."""
    run_id = await waiting(client)
    [wait] = (await client.ok("ListWaitPoints", {"executionId": run_id.upper()}))["waitPoints"]
    assert (wait["key"], wait["payload"], wait["execution"]["id"]) == ("approval", "5", run_id)
    assert wait["execution"]["details"]["status"] == "WAITING"
    assert "expiresAt" not in wait
    message = {"executionId": run_id, "key": "approval", "result": "true"}
    for wrong, code, said in (
        ({"key": "other"}, "failed_precondition", "waits at 'approval', not at 'other'"),
        ({"waitId": UNKNOWN}, "failed_precondition", "does not wait"),
        ({"result": "{"}, "invalid_argument", "JSON"),
        ({"result": ""}, "invalid_argument", "JSON"),
        ({"result": '"maybe"'}, "invalid_argument", "wait point 'approval'"),
        ({"executionId": UNKNOWN}, "not_found", f"Execution '{UNKNOWN}' not found."),
        ({"executionId": "x"}, "invalid_argument", "executionId must be a UUID"),
    ):
        reply = await client.call("ResolveWaitPoint", {**message, **wrong})
        assert (reply.code, said in reply.message) == (code, True), (wrong, reply)
    assert await client.ok("ResolveWaitPoint", {**message, "waitId": wait["id"]}) == {"executionId": run_id}
    run = await client.in_status(run_id, "SUCCESS")
    assert run["details"]["output"] == "true"
    assert "resolved already" in (await client.call("ResolveWaitPoint", message)).message
    assert (await client.ok("ListWaitPoints")).get("waitPoints", []) == []


async def test_waits_are_listed_page_by_page(served: Served) -> None:
    """The longest wait comes first; a token goes on after any of them, in the same listing only."""
    client = served.client
    alice = {"id": "alice", "type": "user"}
    run_ids = [await waiting(client, cents, caller=alice if cents == 2 else {}) for cents in range(4)]

    async def listed(**message: Any) -> tuple[list[str], Any]:
        answer = await client.ok("ListWaitPoints", message)
        return [one["execution"]["id"] for one in answer.get("waitPoints", [])], answer

    first, page = await listed(pageSize=2)
    assert first == run_ids[:2]
    assert page["nextPageToken"] == page["pageTokens"][1]
    for number, token in enumerate(page["pageTokens"], 1):
        rest, last = await listed(pageSize=10, pageToken=token)
        assert rest == run_ids[number:]
        assert "nextPageToken" not in last
    assert (await listed(callerId="alice"))[0] == [run_ids[2]]
    assert (await listed(workflowName="asking", key="approval"))[0] == run_ids
    for none in ({"key": "other"}, {"workflowName": "hanging"}, {"executionId": "x"}, {"callerId": "bob"}):
        assert (await listed(**none))[0] == []
    for wrong in ({"pageToken": page["pageTokens"][0], "key": "approval"}, {"pageToken": "x"}):
        assert (await client.call("ListWaitPoints", wrong)).code == "invalid_argument"


async def test_a_batch_is_started(client: Client) -> None:
    """Each argument gets its run, in order, with the caller that was named."""
    message = {"workflowId": await client.workflow_id("hanging"), "caller": {"id": "alice", "type": "user"}}
    run_ids = (await client.ok("StartWorkflows", {**message, "args": ["0", " 0 "]}))["executionIds"]
    for run_id in run_ids:
        details = (await client.in_status(run_id, "SUCCESS"))["details"]
        assert (details["input"], details["caller"]["id"]) == ("0", "alice")
    assert len(set(run_ids)) == 2
    assert await client.ok("StartWorkflows", message) == {}


@pytest.mark.parametrize(
    ("workflow", "message", "code"),
    [
        ("hanging", {"args": ["0", '"x"']}, "invalid_argument"),
        ("hanging", {"args": ["0", "{"]}, "invalid_argument"),
        ("hanging", {"args": ["0"] * 1001}, "invalid_argument"),
        ("hanging", {"args": ["0"], "authInvoker": {"namespace": "a", "machineUserName": "b"}}, "invalid_argument"),
        ("hanging", {"args": ["0"], "caller": {"type": "admin"}}, "invalid_argument"),
        ("hanging", {"args": ["0"], "workflowId": UNKNOWN}, "not_found"),
        ("guarded", {"args": ["0"]}, "permission_denied"),
        ("guarded", {"args": ["0"], "caller": {"id": "bob", "type": "user"}}, "permission_denied"),
    ],
)
async def test_a_refused_batch_starts_nothing(
    served: Served, workflow: str, message: dict[str, Any], code: str
) -> None:
    """One argument, the caller or the invoker is wrong: none of the runs is started."""
    given = {"workflowId": await served.client.workflow_id(workflow), **message}
    assert (await served.client.call("StartWorkflows", given)).code == code
    assert "executions" not in await served.client.ok("ListWorkflowExecutions")


@pytest.mark.parametrize("method", OWN)
async def test_without_extensions_there_are_no_such_methods(method: str) -> None:
    """A server that is told to speak the contract alone speaks no more."""
    async with shop_server(shop=desk(), extensions=False) as served:
        for client in (served.client, served.binary):
            reply = await client.call(method, OWN[method])
            assert (reply.status, reply.code) == (404, "unimplemented")
            assert reply.message == f"There is no method {method!r}."


@pytest.mark.parametrize("method", OWN)
async def test_another_workspace_has_none_of_it(method: str) -> None:
    """Our methods look at the workspace as those of the contract do."""
    async with shop_server(shop=desk(), workspace_id=UNKNOWN) as served:
        reply = await served.client.call(method, OWN[method])
        assert (reply.code, "Workspace" in reply.message) == ("not_found", True)


async def test_without_extensions_nothing_is_canceled() -> None:
    """The contract has no such status to filter by."""
    async with shop_server(shop=desk(), extensions=False) as bare:
        condition = {"field": "status", "operator": "OPERATOR_EQ", "value": "CANCELED"}
        reply = await bare.client.call("ListWorkflowExecutions", {"filter": {"condition": condition}})
    assert (reply.code, "CANCELED" in reply.message.partition("needs one of")[2]) == ("invalid_argument", False)
