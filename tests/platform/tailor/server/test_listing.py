"""Listing runs."""

import json
from typing import Any

import pytest

from gqlplugin.app import define_app
from gqlplugin.checks import firing_name
from gqlplugin.errors import UnsupportedError
from gqlplugin.executor import create_executor, schedule_trigger, workflow_operation
from gqlplugin.identity import executor_user
from gqlplugin.job import create_workflow_job
from gqlplugin.runs import ExecutionFilter, ExecutionPage
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow
from tests.platform.tailor.server.support import UNKNOWN, Client, Served, Shop, shop_server, until

pytestmark = pytest.mark.anyio


def eq(field: str, value: object) -> dict[str, Any]:
    return {"condition": {"field": field, "operator": "OPERATOR_EQ", "value": value}}


def both(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and": list(filters)}


async def ids(served: Served, **message: Any) -> list[str]:
    """The IDs of what a listing answers with, the same in both codecs."""
    found = []
    for client in (served.client, served.binary):
        answer = await client.ok("ListWorkflowExecutions", message)
        found.append([run["id"] for run in answer.get("executions", [])])
    assert found[0] == found[1]
    return found[0]


async def test_filters(served: Served) -> None:
    """A listing has the runs that fit all conditions, however they are nested and spelt."""
    alice = {"id": "alice", "type": "user"}
    failed = await served.client.start("flaky")
    greeted = await served.client.start("greet", {"name": "Ann"}, caller=alice)
    await served.client.in_status(failed, "FAILED")
    await served.client.in_status(greeted, "SUCCESS")
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [greeted, failed]),
        ({"filter": {}}, [greeted, failed]),
        ({"filter": both(both(), both())}, [greeted, failed]),
        ({"filter": eq("workflow_name", "greet")}, [greeted]),
        ({"filter": both(eq("workflow_name", "greet"))}, [greeted]),
        ({"filter": both(both(both(eq("workflow_name", "greet"))))}, [greeted]),
        ({"filter": eq("status", 5)}, [failed]),
        ({"filter": eq("status", "STATUS_FAILED")}, [failed]),
        ({"filter": eq("status", "FAILED")}, [failed]),
        ({"filter": both(eq("workflow_name", "flaky"), eq("status", 5))}, [failed]),
        ({"filter": {**eq("workflow_name", "flaky"), **both(eq("status", 5))}}, [failed]),
        ({"filter": both(eq("workflow_name", "greet"), eq("status", 5))}, []),
        ({"filter": both(eq("status", 4), eq("status", 5))}, []),
        ({"filter": both(eq("status", 5), eq("status", "FAILED"))}, [failed]),
        ({"filter": {**eq("status", 4), **both(eq("status", 5))}}, []),
        ({"filter": eq("workflow_name", "no-such")}, []),
        ({"workflowName": "greet"}, [greeted]),
        ({"workflowName": "greet", "filter": eq("workflow_name", "greet")}, [greeted]),
        ({"workflowName": "greet", "filter": eq("workflow_name", "flaky")}, []),
        ({"filter": eq("caller_id", "alice")}, [greeted]),
        ({"filter": eq("caller_id", "bob")}, []),
        ({"filter": eq("id", failed)}, [failed]),
        ({"filter": eq("id", failed.upper())}, [failed]),
        ({"filter": eq("id", UNKNOWN)}, []),
        ({"filter": both(eq("id", failed), eq("status", 5))}, [failed]),
        ({"filter": both(eq("id", failed), eq("status", 4))}, []),
        ({"filter": both(eq("id", failed), eq("workflow_name", "greet"))}, []),
        ({"filter": both(eq("id", failed), eq("caller_id", "alice"))}, []),
        ({"filter": both(eq("id", failed), eq("id", greeted))}, []),
        ({"pageDirection": "PAGE_DIRECTION_DESC"}, [greeted, failed]),
    ]
    for message, runs in expected:
        assert await ids(served, **message) == runs, message


async def test_pages(served: Served) -> None:
    """Page after page has every run once, from the token of a page as from that of any run."""
    started = [await served.client.start("flaky") for _ in range(5)][::-1]
    seen: list[str] = []
    token = ""
    while token or not seen:
        page = await served.client.ok("ListWorkflowExecutions", {"pageSize": 2, "pageToken": token})
        seen += [run["id"] for run in page["executions"]]
        token = page.get("nextPageToken", "")
    assert seen == started
    whole = await served.client.ok("ListWorkflowExecutions", {"pageSize": 5})
    assert "nextPageToken" not in whole
    for number, token in enumerate(whole["pageTokens"], start=1):
        assert await ids(served, pageToken=token) == started[number:]


async def test_tokens_are_of_one_listing(served: Served) -> None:
    """A token fits the listing it came from, and no other."""
    for _ in range(2):
        await served.client.start("flaky")
    page = await served.client.ok("ListWorkflowExecutions", {"pageSize": 1, "workflowName": "flaky"})
    token = page["nextPageToken"]
    same = {"filter": both(eq("workflow_name", "flaky")), "view": "VIEW_RUN", "pageSize": 7, "pageToken": token}
    assert len(await ids(served, **same)) == 1
    others: list[tuple[str, dict[str, Any]]] = [
        ("ListWorkflowExecutions", {}),
        ("ListWorkflowExecutions", {"workflowName": "greet"}),
        ("ListWorkflowExecutions", {"workflowName": "flaky", "filter": eq("status", 5)}),
        ("ListWorkflows", {}),
        ("ListApplications", {}),
        ("ListAuthMachineUsers", {"authNamespace": "my-auth"}),
    ]
    for method, message in others:
        reply = await served.client.call(method, {**message, "pageToken": token})
        assert (reply.code, reply.message[:9]) == ("invalid_argument", "pageToken"), (method, message)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_ascending_pages(served: Served, size: int) -> None:
    """ASC lists from the oldest run on, whole pages until there is no more, and each page has the number of all."""
    started = [await served.client.start("flaky") for _ in range(5)]
    other = await served.client.start("greet", {"name": "Ann"})
    for filtered, expected in (({}, [*started, other]), ({"filter": eq("workflow_name", "flaky")}, started)):
        for client in (served.client, served.binary):
            seen: list[str] = []
            message: dict[str, Any] = {"pageDirection": "PAGE_DIRECTION_ASC", "pageSize": size, **filtered}
            token = ""
            while token or not seen:
                page = await client.ok("ListWorkflowExecutions", {**message, "pageToken": token})
                assert page["totalCount"] == str(len(expected))
                seen += [run["id"] for run in page["executions"]]
                token = page.get("nextPageToken", "")
                assert len(page["executions"]) == size or not token
            assert seen == expected


async def test_a_token_has_one_direction(served: Served) -> None:
    """A token of an ascending listing does not fit the descending one."""
    for _ in range(2):
        await served.client.start("flaky")
    for method in ("ListWorkflowExecutions", "ListFunctionExecutions"):

        async def tokens(method: str = method) -> str | None:
            message = {"pageSize": 1, "pageDirection": "PAGE_DIRECTION_ASC"}
            token: str | None = (await served.client.ok(method, message)).get("nextPageToken")
            return token

        reply = await served.client.call(method, {"pageToken": await until(tokens)})
        assert (reply.code, reply.message[:9]) == ("invalid_argument", "pageToken")


async def test_totals(served: Served) -> None:
    """The total is that of the whole listing, with its filter."""
    failed = await served.client.start("flaky")
    greeted = [await served.client.start("greet", {"name": "Ann"}) for _ in range(3)]
    for run_id in (failed, *greeted):
        await served.client.in_status(run_id, "FAILED", "SUCCESS")
    expected: list[tuple[dict[str, Any], int]] = [
        ({}, 4),
        ({"workflowName": "greet"}, 3),
        ({"filter": eq("status", 5)}, 1),
        ({"filter": both(eq("workflow_name", "greet"), eq("status", 5))}, 0),
        ({"filter": both(eq("status", 4), eq("status", 5))}, 0),
        ({"filter": eq("id", failed)}, 1),
        ({"filter": eq("id", UNKNOWN)}, 0),
    ]
    for message, total in expected:
        for client in (served.client, served.binary):
            answer = await client.ok("ListWorkflowExecutions", {"pageSize": 1, **message})
            assert int(answer.get("totalCount", "0")) == total, message


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_all_function_executions(served: Served, size: int, direction: str) -> None:
    """Without a filter all jobs are listed, run by run, page by page, with the number of all."""
    ids: list[str] = []
    for name in ("greet", "flaky", "greet"):
        run_id = await served.client.start(name, {"name": "Ann"} if name == "greet" else None)
        run = await served.client.in_status(run_id, "FAILED", "SUCCESS")
        ids += [job["executionId"] for job in run["jobExecutions"]]
    assert len(ids) == 5
    seen: list[str] = []
    token = ""
    while token or not seen:
        message = {"pageSize": size, "pageToken": token, "pageDirection": f"PAGE_DIRECTION_{direction}", "filter": {}}
        page = await served.client.ok("ListFunctionExecutions", message)
        assert page["totalCount"] == "5"
        assert len(page.get("executions", [])) <= size
        seen += [job["id"] for job in page.get("executions", [])]
        token = page.get("nextPageToken", "")
    assert seen == (ids if direction == "ASC" else ids[::-1])


class Uncounted(MemoryPlatform):
    """Can't count, as Temporal can't."""

    async def count_executions(self, where: ExecutionFilter) -> int:
        raise UnsupportedError

    async def count_jobs(self) -> int:
        raise UnsupportedError


async def test_a_platform_that_cannot_count() -> None:
    """Where the platform can't count, listings are answered without a total."""
    async with shop_server(Uncounted()) as served:
        run = await served.client.in_status(await served.client.start("flaky"), "FAILED")
        for method in ("ListWorkflowExecutions", "ListFunctionExecutions"):
            answer = await served.client.ok(method)
            assert len(answer["executions"]) == 1
            assert "totalCount" not in answer
    assert run["status"] == "STATUS_FAILED"


@create_workflow_job(name="ring-main")
async def ring(input: str) -> str:
    return input


ringing = create_workflow(name="ring", main_job=ring)
at_noon = create_executor(
    "at-noon", trigger=schedule_trigger("0 12 * * *"), operation=workflow_operation(ringing, args="x")
)


async def test_firings_are_listed_when_asked_for() -> None:
    """The vendor's client lists the runs of workflows, and the firings of an executor by their name."""
    shop = Shop()
    shop.app = define_app("example-shop", workflows=[ringing], executors=[at_noon])
    async with shop_server(shop=shop) as served:
        noon = '{"scheduled_time": "2026-03-01T12:00:00Z"}'
        name = firing_name("at-noon")
        firing = await served.platform.start_workflow(name, noon, caller=executor_user("at-noon"))
        run = await served.client.in_status(firing, "SUCCESS")
        started = json.loads(run["details"]["output"])["workflow_run_id"]
        for binary in (False, True):
            vendor, ours = (Client(served.client.http, binary=binary, ours=one) for one in (False, True))
            for client, message, expected in (
                (vendor, {}, [started]),
                (vendor, {"filter": eq("workflow_name", name)}, [firing]),
                (vendor, {"workflowName": name}, [firing]),
                (vendor, {"filter": eq("id", firing)}, [firing]),
                (ours, {}, [started, firing]),
                (ours, {"withoutFirings": True}, [started]),
            ):
                answer = await client.ok("ListWorkflowExecutions", message)
                assert [one["id"] for one in answer["executions"]] == expected
                assert answer["totalCount"] == str(len(expected))


class Counting(MemoryPlatform):
    """Keeps the page sizes that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        self.asked.append(first)
        return await super().list_executions(where, first=first, after=after)


async def test_page_sizes() -> None:
    """A page has 100 runs unless the client says, and 1000 at most."""
    platform = Counting()
    async with shop_server(platform) as served:
        for size in (0, 1, 1000, 1001, 2**32 - 1):
            await served.client.ok("ListWorkflowExecutions", {"pageSize": size})
    assert platform.asked == [100, 1, 1000, 1000, 1000]
