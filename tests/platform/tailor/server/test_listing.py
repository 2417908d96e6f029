"""Listing runs."""

from typing import Any

import pytest

from gqlplugin.execution import ExecutionFilter, ExecutionPage
from gqlplugin.testing import MemoryPlatform
from tests.platform.tailor.server.support import UNKNOWN, Served, shop_server

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
