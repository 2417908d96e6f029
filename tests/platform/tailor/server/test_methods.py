"""Every method, in both codecs and over both HTTP versions."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from gqlplugin.platform.base import machine_user_id
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.platform.tailor.server.served import attribute_id, is_uuid, workflow_id
from gqlplugin.testing import MemoryPlatform
from tests.platform.tailor.server import support
from tests.platform.tailor.server.support import (
    METHODS,
    TOKEN,
    UNKNOWN,
    WORKSPACE,
    Client,
    Served,
    Shop,
    http_client,
    serving,
    shop_server,
)

pytestmark = pytest.mark.anyio

SUPPORT_CHANGED_AT = datetime.fromtimestamp(Path(support.__file__).stat().st_mtime, UTC)
JOBS = ["greet-main", "greet-main/write-letter"]


@pytest.fixture(params=["JSON over HTTP/1.1", "binary over HTTP/1.1", "JSON over HTTP/2", "binary over HTTP/2"])
async def client(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Client]:
    """A client of each kind; they all use one port."""
    codec, _, version = request.param.partition(" over ")
    async with http_client(served.port, http2=version == "HTTP/2") as http:
        yield Client(http, binary=codec == "binary")
        assert (await http.get("/healthz")).http_version == version


async def greeted(client: Client) -> Any:
    run_id = await client.start("greet", {"name": "Ann"})
    return await client.in_status(run_id, "SUCCESS")


async def test_get_application(client: Client, served: Served) -> None:
    """The app has its name, its auth namespace and the URL that the client used."""
    found = (await client.ok("GetApplication", {"applicationName": "example-shop"}))["application"]
    assert found["name"] == "example-shop"
    assert found["authNamespace"] == "my-auth"
    assert (found["url"], found["domain"]) == (f"http://127.0.0.1:{served.port}", "127.0.0.1")
    assert found["createTime"] == found["updateTime"]


async def test_list_applications(client: Client) -> None:
    """The app is the only one."""
    answer = await client.ok("ListApplications")
    assert [one["name"] for one in answer["applications"]] == ["example-shop"]
    assert (answer["totalCount"], answer.get("nextPageToken", "")) == ("1", "")


async def test_get_workflow_by_name_and_by_id(client: Client) -> None:
    """A workflow has an ID that follows from its name, its main job and all jobs it is made of."""
    found = (await client.ok("GetWorkflowByName", {"workflowName": "greet"}))["workflow"]
    assert found["id"] == workflow_id("example-shop", "greet")
    assert found["mainJobFunctionName"] == "greet-main"
    assert found["jobFunctions"] == {"greet-main": "1", "write-letter": "1"}
    assert found == (await client.ok("GetWorkflow", {"workflowId": found["id"]}))["workflow"]
    assert found == (await client.ok("GetWorkflow", {"workflowId": found["id"].upper()}))["workflow"]


async def test_times_outlast_a_restart() -> None:
    """Workflows, the app and machine users have the time of the code that defines them, not that of the start."""
    found = []
    for _ in range(2):
        async with shop_server() as served:
            [application] = (await served.client.ok("ListApplications"))["applications"]
            [user, _] = (await served.client.ok("ListAuthMachineUsers", {"authNamespace": "my-auth"}))["machineUsers"]
            workflows = (await served.client.ok("ListWorkflows"))["workflows"]
            found.append(
                [application["createTime"], application["updateTime"]]
                + [one[name] for one in (user, *workflows) for name in ("createdAt", "updatedAt")]
            )
    assert found[0] == found[1]
    assert {datetime.fromisoformat(one) for one in found[0]} == {SUPPORT_CHANGED_AT}


async def test_list_workflows_pages(client: Client) -> None:
    """Workflows are listed by name, page by page, with those that are defined elsewhere."""
    names: list[str] = []
    token = ""
    while token or not names:
        page = await client.ok("ListWorkflows", {"pageSize": 3, "pageToken": token})
        assert page["totalCount"] == "5"
        names += [one["name"] for one in page["workflows"]]
        token = page.get("nextPageToken", "")
    assert names == ["elsewhere", "flaky", "gate", "greet", "guarded"]


async def test_list_workflows_descending(client: Client) -> None:
    """DESC is honoured, also on the next page; its tokens are not those of ASC."""
    descending = {"pageDirection": "PAGE_DIRECTION_DESC", "pageSize": 2}
    first = await client.ok("ListWorkflows", descending)
    second = await client.ok("ListWorkflows", {**descending, "pageToken": first["nextPageToken"]})
    assert [one["name"] for one in first["workflows"] + second["workflows"]] == [
        "guarded",
        "greet",
        "gate",
        "flaky",
    ]  # and one more page
    other = await client.call("ListWorkflows", {"pageSize": 2, "pageToken": first["nextPageToken"]})
    assert other.code == "invalid_argument"


@pytest.mark.parametrize("method", ["StartWorkflow", "TestStartWorkflow"])
async def test_start(client: Client, method: str) -> None:
    """A start answers with the ID of a run that runs."""
    message = {"workflowId": await client.workflow_id("greet"), "arg": '{"name": "Ann"}'}
    run_id = (await client.ok(method, message))["executionId"]
    assert (await client.in_status(run_id, "SUCCESS"))["details"]["output"] == '"Hello Ann"'


@pytest.mark.parametrize("method", ["ResumeWorkflowExecution", "TestResumeWorkflow"])
async def test_resume(client: Client, served: Served, method: str) -> None:
    """A resume answers with the ID of the run, which runs again."""
    run_id = await client.start("flaky")
    await client.in_status(run_id, "FAILED")
    served.shop.mended = True
    assert (await client.ok(method, {"executionId": run_id}))["executionId"] == run_id
    assert (await client.in_status(run_id, "SUCCESS"))["details"]["output"] == '"warm"'


async def test_get_workflow_execution(client: Client) -> None:
    """A run has its jobs in the order they were triggered, and all that the platform keeps of it."""
    run = await greeted(client)
    assert run["workflowName"] == "greet"
    assert run["startedAt"] <= run["finishedAt"]
    assert [job["stackedJobName"] for job in run["jobExecutions"]] == JOBS
    assert all(job["id"] == job["executionId"] and "details" not in job for job in run["jobExecutions"])
    details = run["details"]
    assert json.loads(details["input"]) == {"name": "Ann", "times": 1}
    assert details["progress"] == {"fraction": 0.5, "message": "half"}
    assert details["createdAt"] <= run["startedAt"]


async def test_get_failed_execution(client: Client) -> None:
    """A failed run says why, with the traceback for operators."""
    run = await client.in_status(await client.start("flaky"), "FAILED")
    error = run["details"]["error"]
    assert (error["code"], error["message"]) == ("COLD", "The oven is cold.")
    assert "JobFailedError" in error["detail"]


async def test_views(client: Client) -> None:
    """A view has the run alone, or the jobs with their details."""
    run = await greeted(client)
    alone = await client.run(run["id"], view="VIEW_RUN")
    assert alone == {name: value for name, value in run.items() if name != "jobExecutions"}
    full = await client.run(run["id"], view="VIEW_FULL")
    details = full["jobExecutions"][1]["details"]
    assert details["runId"] == run["id"]
    assert (details["place"], details["name"], details["stackedName"]) == ("0.0", "write-letter", JOBS[1])
    assert details["result"] == '"Hello Ann"'
    assert [line.rpartition(" ")[2] for line in details["logs"]] == ["Writing", "Written"]


async def test_list_workflow_executions(client: Client) -> None:
    """Runs are listed newest first, with their jobs, and counted unless a client of ours asks for a view."""
    ids = [(await greeted(client))["id"] for _ in range(2)]
    answer = await client.ok("ListWorkflowExecutions")
    assert [run["id"] for run in answer["executions"]] == ids[::-1]
    assert [len(run["jobExecutions"]) for run in answer["executions"]] == [2, 2]
    assert answer["totalCount"] == "2"
    assert len(answer["pageTokens"]) == 2
    full = await client.ok("ListWorkflowExecutions", {"view": "VIEW_FULL", "pageSize": 1})
    assert full["executions"][0]["jobExecutions"][0]["details"]["place"] == "0"
    assert "totalCount" not in full


async def test_function_executions(client: Client) -> None:
    """A job is found by its ID, alone or as a listing of one."""
    run = await greeted(client)
    job = run["jobExecutions"][1]
    found = (await client.ok("GetFunctionExecution", {"executionId": job["executionId"]}))["execution"]
    assert found["id"] == job["id"]
    assert (found["workspaceId"], found["scriptName"], found["type"]) == (WORKSPACE, "write-letter", "TYPE_JOB")
    assert (found["status"], found["result"]) == ("STATUS_SUCCESS", '"Hello Ann"')
    assert [line.rpartition(" ")[2] for line in found["logs"].split("\n")] == ["Writing", "Written"]
    assert found["details"]["place"] == "0.0"
    condition = {"field": "id", "operator": "OPERATOR_EQ", "value": job["id"]}
    listed = await client.ok("ListFunctionExecutions", {"pageSize": 1, "filter": {"condition": condition}})
    assert (listed["executions"], listed["totalCount"]) == ([found], "1")
    unknown = {"filter": {"condition": {**condition, "value": UNKNOWN}}}
    assert await client.ok("ListFunctionExecutions", unknown) == {}


async def test_suspended_and_failed_function_executions(client: Client) -> None:
    """A job that waits is RUNNING, and one that failed has the name, the message and the kind of its error."""
    waiting = await client.in_status(await client.start("gate", "wait"), "RUNNING")
    failed = await client.in_status(await client.start("flaky"), "FAILED")
    found = await asyncio.gather(
        *(
            client.ok("GetFunctionExecution", {"executionId": run["jobExecutions"][0]["id"]})
            for run in (waiting, failed)
        )
    )
    assert [one["execution"]["status"] for one in found] == ["STATUS_RUNNING", "STATUS_FAILED"]
    assert found[1]["execution"]["error"] == {"name": "COLD", "message": "The oven is cold."}
    assert found[1]["execution"]["errorKind"] == "FUNCTION_ERROR_KIND_USER_RUNTIME"
    assert not {"error", "errorKind"} & found[0]["execution"].keys()


async def test_machine_users(client: Client) -> None:
    """A machine user has its attributes, and what it gets its tokens by."""
    message = {"authNamespace": "my-auth", "name": "manager"}
    found = (await client.ok("GetAuthMachineUser", message))["machineUser"]
    assert found["id"] == machine_user_id("my-auth", "manager")
    assert found["attributes"] == [attribute_id("my-auth", name) for name in ("age", "role")]
    assert all(map(is_uuid, found["attributes"]))
    assert found["attributeMap"] == {"role": "M", "age": 7.0}
    assert len(found["clientSecret"]) == 43
    listed = await client.ok("ListAuthMachineUsers", {"authNamespace": "my-auth"})
    assert [one["name"] for one in listed["machineUsers"]] == ["clerk", "manager"]
    assert listed["machineUsers"][1] == found
    assert listed["totalCount"] == "2"
    assert listed["machineUsers"][0]["clientSecret"] != found["clientSecret"]


async def test_unknown_fields_are_ignored(served: Served) -> None:
    """A JSON client of a newer contract is understood."""
    message = {"applicationName": "example-shop", "somethingNew": {"a": [1]}}
    assert (await served.client.call("GetApplication", message)).status == 200


async def test_json_as_proto_has_it(served: Served) -> None:
    """A JSON client may use the names of the fields and the numbers of enums."""
    message = {"workspace_id": WORKSPACE, "page_direction": 2}
    answer = await served.client.ok("ListWorkflows", message)
    assert answer["workflows"][0]["name"] == "guarded"


async def test_every_method_knows_its_workspace() -> None:
    """Another workspace than the server's is not found, by any method."""
    async with shop_server(workspace_id=WORKSPACE.upper()) as served:
        assert (await served.client.call("ListWorkflows")).status == 200
        for method in METHODS:
            reply = await served.client.call(method, {"workspaceId": UNKNOWN})
            assert (reply.status, reply.message) == (404, f"Workspace '{UNKNOWN}' not found.")


async def test_url_of_the_server() -> None:
    """The URL that the server was made with is what clients are told."""
    async with shop_server(url="https://shop.example:8443/base/") as served:
        found = (await served.client.ok("ListApplications"))["applications"][0]
    assert (found["url"], found["domain"]) == ("https://shop.example:8443/base", "shop.example")


async def test_host_that_is_none(served: Served) -> None:
    """A host that can't be one is not told back."""
    answer = await served.client.ok("ListApplications", headers={"host": "a/b?c"})
    assert "url" not in answer["applications"][0]


async def test_without_executing(tmp_path: Any) -> None:
    """A server that does not execute starts runs for the process that does."""
    async with shop_server(execute=False) as served:
        run_id = await served.client.start("greet", {"name": "Ann"})
        assert (await served.client.run(run_id))["status"] == "STATUS_PENDING"
        async with served.platform.execute(served.shop.app):
            await served.client.in_status(run_id, "SUCCESS")


async def test_server_within_another_app() -> None:
    """Mounted in an app that runs its lifespan, the server answers as ever."""
    server = create_server(Shop().app, MemoryPlatform(), token=TOKEN)
    outer = Starlette(routes=[Mount("/operator", server)], lifespan=server.router.lifespan_context)
    async with serving(outer) as port, http_client(port) as http:
        http.base_url = http.base_url.join("/operator")
        assert (await Client(http).call("ListWorkflows")).status == 200
        assert (await Client(http).call("NoSuchMethod")).code == "unimplemented"
