"""Starting and resuming runs."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gqlplugin.app import define_app
from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.runs import ExecutionFilter, WorkflowExecution
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow
from tests.platform.tailor.server.support import (
    TOKEN,
    UNKNOWN,
    Client,
    Served,
    http_client,
    serving,
    shop_server,
    until,
)

pytestmark = pytest.mark.anyio

ALICE = {
    "id": "alice",
    "type": "user",
    "workspaceId": "her-own",
    "attributes": '{"role": "BUYER", "tags": [1, null]}',
    "attributeList": ["b", "a"],
}


async def no_runs(served: Served) -> bool:
    return "executions" not in await served.client.ok("ListWorkflowExecutions")


async def test_absent_argument_of_a_job_without_input(served: Served) -> None:
    """A main job that takes nothing gets null."""
    message = {"workflowId": await served.client.workflow_id("flaky")}
    run_id = (await served.client.ok("StartWorkflow", message))["executionId"]
    assert (await served.client.run(run_id))["details"]["input"] == "null"


@pytest.mark.parametrize(
    ("arg", "problem"),
    [
        ("{", "Invalid JSON"),
        ("", "Invalid JSON"),
        ("{}", "name: Field required"),
        ('{"name": 1, "times": "x"}', "times: Input should be a valid integer"),
        ('{"name": "a", "times": NaN}', "times"),
    ],
)
async def test_arguments_are_checked(served: Served, arg: str, problem: str) -> None:
    """An argument that doesn't fit is refused with what is wrong with it, and nothing is started."""
    message = {"workflowId": await served.client.workflow_id("greet"), "arg": arg}
    for method in ("StartWorkflow", "TestStartWorkflow"):
        reply = await served.client.call(method, message)
        assert (reply.status, reply.code) == (400, "invalid_argument")
        assert problem in reply.message
    assert await no_runs(served)


async def test_invoker(served: Served) -> None:
    """A run has the machine user it was started as; none, or an empty one, is anonymous."""
    invoker = {"namespace": "my-auth", "machineUserName": "manager"}
    run_id = await served.client.start("flaky", authInvoker=invoker)
    assert (await served.client.run(run_id))["details"]["invoker"] == invoker
    spellings: list[dict[str, Any]] = [{}, {"authInvoker": {}}, {"authInvoker": {"namespace": ""}}]
    for anonymous in spellings:
        run_id = await served.client.start("flaky", **anonymous)
        assert "invoker" not in (await served.client.run(run_id))["details"]


@pytest.mark.parametrize(
    "invoker",
    [
        {"namespace": "my-auth", "machineUserName": "nobody"},
        {"namespace": "other", "machineUserName": "manager"},
        {"machineUserName": "manager"},
        {"namespace": "my-auth"},
    ],
)
async def test_unknown_invokers(served: Served, invoker: dict[str, str]) -> None:
    """Nothing runs as a machine user that there is not."""
    message = {"workflowId": await served.client.workflow_id("flaky"), "authInvoker": invoker}
    assert (await served.client.call("StartWorkflow", message)).code == "invalid_argument"
    assert await no_runs(served)


async def test_caller(served: Served) -> None:
    """The caller that a client of ours names is the run's, to the letter."""
    run_id = await served.client.start("flaky", caller=ALICE)
    caller = (await served.platform.get_execution(run_id)).caller
    assert caller == User("alice", "user", "her-own", {"role": "BUYER", "tags": [1, None]}, ("b", "a"))
    told = (await served.client.run(run_id))["details"]["caller"]
    assert {**told, "attributes": json.loads(told["attributes"])} == {
        **ALICE,
        "attributes": json.loads(str(ALICE["attributes"])),
    }


async def test_anonymous_caller(served: Served) -> None:
    """No caller is the anonymous one; one without attributes is not one with none."""
    run = await served.platform.get_execution(await served.client.start("flaky"))
    assert run.caller == User()
    for caller, attributes in (({"type": "user"}, None), ({"type": "user", "attributes": "{}"}, {})):
        run = await served.platform.get_execution(await served.client.start("flaky", caller=caller))
        assert run.caller == User("", "user", "", attributes)


@pytest.mark.parametrize(
    ("caller", "field"),
    [
        ({"type": "admin"}, "caller.type"),
        ({"attributes": "{"}, "caller.attributes"),
        ({"attributes": ""}, "caller.attributes"),
        ({"attributes": "[]"}, "caller.attributes"),
        ({"attributes": '{"a": NaN}'}, "caller.attributes"),
    ],
)
async def test_malformed_callers(served: Served, caller: dict[str, str], field: str) -> None:
    """A caller that makes no sense is refused by the name of the field."""
    message = {"workflowId": await served.client.workflow_id("flaky"), "caller": caller}
    reply = await served.client.call("StartWorkflow", message)
    assert reply.code == "invalid_argument"
    assert reply.message.startswith(f"{field} must be")
    assert await no_runs(served)


async def test_permission(served: Served) -> None:
    """A workflow's permission decides, over the caller and the invoker."""
    message = {"workflowId": await served.client.workflow_id("guarded")}
    assert (await served.client.call("StartWorkflow", message)).code == "permission_denied"
    assert await no_runs(served)
    assert (await served.client.call("StartWorkflow", {**message, "caller": ALICE})).status == 200


async def test_idempotency_key(served: Served) -> None:
    """The same key with the same request is one run; with another request it is refused."""
    key = {"idempotency-key": "k" * 255}
    first = await served.client.start("gate", "a", headers=key)
    assert await served.binary.start("gate", "a", headers=key) == first
    message = {"workflowId": await served.client.workflow_id("gate"), "arg": '"b"'}
    reply = await served.client.call("StartWorkflow", message, headers=key)
    assert (reply.status, reply.code) == (409, "already_exists")
    assert await served.client.start("gate", "a", headers=key, caller=ALICE) != first


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_malformed_idempotency_keys(served: Served, key: str) -> None:
    """A key that is empty or too long is refused."""
    message = {"workflowId": await served.client.workflow_id("flaky")}
    reply = await served.client.call("StartWorkflow", message, headers={"idempotency-key": key})
    assert (reply.code, "Idempotency-Key" in reply.message) == ("invalid_argument", True)
    assert await no_runs(served)


async def test_the_platform_says_whether_it_runs_what_is_defined_elsewhere(served: Served) -> None:
    """A workflow that is defined elsewhere is told of; the embedded platform can't start it, and says so."""
    told = await served.client.ok("GetWorkflowByName", {"workflowName": "elsewhere"})
    assert "mainJobFunctionName" not in told["workflow"]
    refused = await served.client.call("StartWorkflow", {"workflowId": told["workflow"]["id"], "arg": '{"name": "a"}'})
    assert (refused.status, refused.code) == (501, "unimplemented")
    assert await no_runs(served)


class Slow(EmbeddedPlatform):
    """Takes its time to start a run, and tells when it is closed."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        super().__init__(path)
        self.closed = asyncio.Event()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def start_workflow(
        self,
        name: str,
        arg: str,
        *,
        caller: User,
        invoker: AuthInvoker | None = None,
        idempotency_key: str | None = None,
        run_id: str | None = None,
    ) -> str:
        self.asked.set()
        await self.go_on.wait()
        return await super().start_workflow(
            name, arg, caller=caller, invoker=invoker, idempotency_key=idempotency_key, run_id=run_id
        )

    async def __aexit__(self, *exc_info: object) -> None:
        await super().__aexit__(*exc_info)
        self.closed.set()


async def test_start_goes_on_without_its_client(caplog: pytest.LogCaptureFixture) -> None:
    """A client that hangs up does not stop a start half way."""
    platform = Slow()
    async with shop_server(platform) as served:
        message = {"workflowId": await served.client.workflow_id("flaky")}
        async with http_client(served.port) as http:
            call = asyncio.create_task(Client(http).call("StartWorkflow", message))
            await platform.asked.wait()
            call.cancel()
            await asyncio.wait([call])
        assert call.cancelled()
        reply = await served.client.call("StartWorkflow", message, headers={"connect-timeout-ms": "2000"})
        assert (reply.status, reply.code) == (504, "deadline_exceeded")
        platform.go_on.set()

        async def both() -> bool:
            return len((await served.client.ok("ListWorkflowExecutions")).get("executions", [])) == 2

        await until(both)
    others = [one for one in caplog.records if one.name != "gqlplugin.runs"]  # the runs themselves fail
    assert [one for one in others if one.levelno >= logging.WARNING] == []


async def test_start_under_way_at_shutdown(tmp_path: Path) -> None:
    """A server that is stopped lets a start go through before it closes the platform."""
    platform, is_given_up = Slow(tmp_path / "runs.sqlite"), asyncio.Event()

    async def start_and_stop() -> None:
        async with shop_server(platform) as served:
            message = {"workflowId": await served.client.workflow_id("flaky")}
            await served.client.call("StartWorkflow", message, headers={"connect-timeout-ms": "2000"})
            is_given_up.set()

    stopping = asyncio.create_task(start_and_stop())
    await platform.asked.wait()
    await is_given_up.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(platform.closed.wait(), 0.5)
    platform.go_on.set()
    await stopping
    assert platform.closed.is_set()
    async with EmbeddedPlatform(tmp_path / "runs.sqlite") as again:
        [run] = (await again.list_executions(ExecutionFilter(), first=1)).executions
    assert run.workflow_name == "flaky"


async def test_resume_answers_once_the_run_is_on_its_way(served: Served) -> None:
    """The answer to a resume goes out when the run is PENDING_RESUME no more: the vendor's client would stop there."""
    run_id = await served.client.start("gate", "fail")
    await served.client.in_status(run_id, "FAILED")
    blocking = await served.client.start("gate", "block")
    await served.client.in_status(blocking, "RUNNING")
    served.shop.mended = True
    resuming = asyncio.create_task(served.client.call("TestResumeWorkflow", {"executionId": run_id}))
    await served.client.in_status(run_id, "PENDING_RESUME")
    assert not resuming.done()
    served.shop.open.set()
    assert (await resuming).status == 200
    assert (await served.client.run(run_id))["status"] in ("STATUS_RUNNING", "STATUS_SUCCESS")


async def test_resume_answers_within_its_time(served: Served) -> None:
    """A resume whose run has to wait is answered within the request's time-out, and stands."""
    run_id = await served.client.start("gate", "fail")
    await served.client.in_status(run_id, "FAILED")
    await served.client.in_status(await served.client.start("gate", "block"), "RUNNING")
    served.shop.mended = True
    headers = {"connect-timeout-ms": "4000"}
    reply = await served.client.call("ResumeWorkflowExecution", {"executionId": run_id}, headers=headers)
    assert (reply.status, reply.body) == (200, {"executionId": run_id})
    assert (await served.client.run(run_id))["status"] == "STATUS_PENDING_RESUME"
    served.shop.open.set()
    await served.client.in_status(run_id, "SUCCESS")


class Blind(MemoryPlatform):
    """Can't be watched."""

    async def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
        if run_id:
            raise PlatformUnavailableError
        yield await self.get_execution(run_id)


async def test_resume_that_cant_be_watched() -> None:
    """A resume that was accepted is answered so, even when the platform can't tell how it goes on."""
    async with shop_server(Blind()) as served:
        run_id = await served.client.start("flaky")
        await served.client.in_status(run_id, "FAILED")
        assert await served.client.ok("TestResumeWorkflow", {"executionId": run_id}) == {"executionId": run_id}


@pytest.mark.parametrize("method", ["ResumeWorkflowExecution", "TestResumeWorkflow"])
async def test_what_cant_be_resumed(served: Served, method: str) -> None:
    """The two refusals of a resume have the vendor's words."""
    reply = await served.client.call(method, {"executionId": UNKNOWN})
    assert (reply.status, reply.code) == (404, "not_found")
    assert reply.message == f"Execution '{UNKNOWN}' not found."
    run_id = await served.client.start("gate", "wait")
    await served.client.in_status(run_id, "RUNNING")
    reply = await served.client.call(method, {"executionId": run_id})
    assert (reply.status, reply.code) == (400, "failed_precondition")
    assert reply.message == f"Execution '{run_id}' is not in a resumable state."


class Optional(BaseModel):
    name: str = "nobody"


@create_workflow_job(name="defaults-main")
async def defaults_main(input: Optional) -> str:
    return input.name


@create_workflow_job(name="either-main")
async def either_main(input: Optional | None) -> str:
    return "none" if input is None else input.name


@create_workflow_job(name="text-main")
async def text_main(input: str | None) -> str:
    return "none" if input is None else input


@create_workflow_job(name="nothing-main")
async def nothing_main() -> str:
    return "nothing"


LENIENT = define_app(
    "lenient",
    workflows=[
        create_workflow(name=one.name.removesuffix("-main"), main_job=one)
        for one in (defaults_main, either_main, text_main, nothing_main)
    ],
)
OURS = {"arg": "null", "caller": {"id": "alice", "type": "user"}}


@pytest.mark.parametrize("method", ["StartWorkflow", "TestStartWorkflow"])
async def test_arguments_that_are_absent_or_null(method: str) -> None:
    """The main job gets `{}`, or null where it takes only that; a null of a client of ours stays one where it may."""
    given: list[dict[str, Any]] = [{}, {"arg": "null"}, {"arg": " null\n"}]
    expected = {
        "defaults": ["nobody"] * 5,
        "either": ["nobody"] * 3 + ["none"] * 2,
        "text": ["none"] * 5,
        "nothing": ["nothing"] * 5,
    }
    async with (
        serving(create_server(LENIENT, MemoryPlatform(), token=TOKEN)) as port,
        http_client(port) as http,
    ):
        for binary in (False, True):
            vendor, ours = (Client(http, binary=binary, ours=one) for one in (False, True))
            starts = [*((vendor, message) for message in given), (ours, {"arg": "null"}), (vendor, OURS)]
            for name, outputs in expected.items():
                workflow_id = await ours.workflow_id(name)
                found = []
                for client, message in starts:
                    run_id = (await client.ok(method, {"workflowId": workflow_id, **message}))["executionId"]
                    run = await client.in_status(run_id, "SUCCESS", "FAILED")
                    found.append(json.loads(run["details"]["output"]))
                assert found == outputs, name


async def test_a_missing_argument(served: Served) -> None:
    """Where fields without a default are missing, they are named."""
    vendor = Client(served.client.http, ours=False)
    message = {"workflowId": await vendor.workflow_id("greet")}
    for arg in ({}, {"arg": "null"}):
        reply = await vendor.call("TestStartWorkflow", {**message, **arg})
        assert reply.code == "invalid_argument"
        assert "name" in reply.message
        assert "required" in reply.message


async def test_the_bare_contract() -> None:
    """Without extensions a start is anonymous, keys mean nothing, and nothing of ours is told."""
    async with shop_server(extensions=False) as served:
        client = served.client
        key = {"idempotency-key": "k" * 300}
        ids = {await client.start("flaky", headers=key, caller={"type": "nonsense", "attributes": "{"}) for _ in "ab"}
        assert len(ids) == 2
        run_id = ids.pop()
        assert (await served.platform.get_execution(run_id)).caller == User()
        await client.in_status(run_id, "FAILED")
        for view in ("VIEW_RUN", "VIEW_FULL"):
            run = await client.run(run_id, view=view)
            assert "details" not in run
            [job] = run["jobExecutions"]
            assert "details" not in job
        listed = await client.ok("ListWorkflowExecutions", {"view": "VIEW_RUN"})
        assert "pageTokens" not in listed
        assert len(listed["executions"][0]["jobExecutions"]) == 1
        function = await client.ok("GetFunctionExecution", {"executionId": job["id"]})
        assert "details" not in function["execution"]
        assert function["execution"]["error"] == {"name": "COLD", "message": "The oven is cold."}
        condition = {"field": "caller_id", "operator": "OPERATOR_EQ", "value": "x"}
        reply = await client.call("ListWorkflowExecutions", {"filter": {"condition": condition}})
        assert reply.code == "invalid_argument"
