"""What the vendor's command line does, as it does it: in binary, over HTTP/2 with prior knowledge."""

import json
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.platform.tailor.server.buf import BufCurl
from tests.platform.tailor.server.support import http_client, shop_server, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # `buf` is no part of what `make test` installs


@pytest.mark.parametrize("extensions", [True, False])
async def test_start_poll_logs_list_resume_and_token(tmp_path: Path, extensions: bool) -> None:
    """`workflow start -W --logs`, `list`, `get`, `executions`, `resume` and `machineuser token` find what they need."""
    async with shop_server(EmbeddedPlatform(tmp_path / "runs.sqlite"), extensions=extensions) as served:
        buf = BufCurl(served.port, tmp_path)

        application = (await buf.ok("GetApplication", {"applicationName": "example-shop"}))["application"]
        invoker = {"namespace": application["authNamespace"], "machineUserName": "manager"}
        workflow = (await buf.ok("GetWorkflowByName", {"workflowName": "greet"}))["workflow"]
        start = {"workflowId": workflow["id"], "authInvoker": invoker, "arg": json.dumps({"name": "Ann"})}
        run_id = (await buf.ok("TestStartWorkflow", start))["executionId"]

        async def ended() -> Any:
            run = (await buf.ok("GetWorkflowExecution", {"executionId": run_id}))["execution"]
            return run if run["status"] in ("STATUS_SUCCESS", "STATUS_FAILED", "STATUS_PENDING_RESUME") else None

        run = await until(ended)
        assert run["status"] == "STATUS_SUCCESS"
        logs = {job["stackedJobName"]: await job_of(buf, job) for job in run["jobExecutions"]}
        assert logs["greet-main/write-letter"]["result"] == '"Hello Ann"'
        assert logs["greet-main/write-letter"]["logs"].count("\n") == 1

        assert len((await buf.ok("ListWorkflows", {"pageSize": 100}))["workflows"]) == 5
        assert await listed(buf, "greet", 4) == [run_id]
        assert await listed(buf, "greet", 5) == []

        failing = (await buf.ok("GetWorkflowByName", {"workflowName": "flaky"}))["workflow"]["id"]
        run_id = (await buf.ok("TestStartWorkflow", {"workflowId": failing}))["executionId"]
        run = await until(ended)
        assert run["status"] == "STATUS_FAILED"
        failure = await job_of(buf, run["jobExecutions"][0])
        assert failure["error"] == {"name": "COLD", "message": "The oven is cold."}
        assert failure["errorKind"] == "FUNCTION_ERROR_KIND_USER_RUNTIME"
        served.shop.mended = True
        assert (await buf.ok("TestResumeWorkflow", {"executionId": run_id}))["executionId"] == run_id
        assert (await until(ended))["status"] == "STATUS_SUCCESS"

        message = {"authNamespace": application["authNamespace"], "name": "manager"}
        user = (await buf.ok("GetAuthMachineUser", message))["machineUser"]
        form = {
            "grant_type": "client_credentials",
            "client_id": user["clientId"],
            "client_secret": user["clientSecret"],
        }
        async with http_client(served.port, token="") as http:
            token = (await http.post(f"{application['url']}/oauth2/token", data=form)).json()
        assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
        status, _, log = await buf.call("ListWorkflows", token=token["access_token"])
        assert (status, "permission_denied" in log) == (7 << 3, True)


async def job_of(buf: BufCurl, job: Any) -> Any:
    message = {"pageSize": 1, "filter": equals("id", job["executionId"])}
    [found] = (await buf.ok("ListFunctionExecutions", message))["executions"]
    return found


async def listed(buf: BufCurl, name: str, status: int) -> list[str]:
    conditions = [equals("workflow_name", name), equals("status", status)]
    message = {"pageDirection": "PAGE_DIRECTION_DESC", "filter": {"and": conditions}}
    answer = await buf.ok("ListWorkflowExecutions", message) or {}
    return [run["id"] for run in answer.get("executions", [])]


def equals(field: str, value: object) -> dict[str, Any]:
    return {"condition": {"field": field, "operator": "OPERATOR_EQ", "value": value}}


async def test_errors_reach_such_a_client(tmp_path: Path) -> None:
    """Errors are read from the answer: the code, and the message."""
    async with shop_server() as served:
        buf = BufCurl(served.port, tmp_path)
        status, _, log = await buf.call("ListWorkflows", token="wrong")  # noqa: S106
        assert (status, "unauthenticated" in log) == (16 << 3, True)
        message = {"workflowId": await served.client.workflow_id("greet"), "arg": '"' + "x" * 5_000_000 + '"'}
        status, _, log = await buf.call("TestStartWorkflow", message)
        assert (status, "resource_exhausted" in log) == (8 << 3, True)
        status, _, log = await buf.call("TestStartWorkflow", {**message, "arg": "{"})
        assert (status, "invalid_argument" in log) == (3 << 3, True)
