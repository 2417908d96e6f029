"""Listing over the bare contract: filters, pages, and cursors that continue after any run."""

import base64
from typing import Any

import pytest
from starlette.responses import Response

from gqlplugin.errors import InvalidInputError, UnsupportedError
from gqlplugin.runs import ExecutionFilter, ExecutionStatus
from tests.contract.support import EVERYTHING
from tests.platform.tailor.fake import FakeTailor, connect_error, run

pytestmark = pytest.mark.anyio


def run_id(number: int) -> str:
    return f"0197a1b2-0000-7000-8000-{number:012d}"


class Listing:
    """A listing whose page tokens are the offset, with pages of a largest size; new runs come in at the front."""

    def __init__(self, fake: FakeTailor, count: int, largest: int = 1000) -> None:
        self.ids = [run_id(number) for number in range(count, 0, -1)]
        self.largest = largest
        fake.on["ListWorkflowExecutions"] = self.answer

    def answer(self, message: dict[str, Any]) -> Any:
        token = message.get("pageToken", "")
        if token and not token.isdigit():
            return connect_error("invalid_argument")
        begin = int(token or 0)
        end = begin + min(message["pageSize"], self.largest)
        return {
            "executions": [run(3, id=one) for one in self.ids[begin:end]],
            "nextPageToken": str(end) if end < len(self.ids) else "",
        }


@pytest.mark.parametrize(
    ("where", "conditions"),
    [
        (ExecutionFilter(workflow_name="order-processing"), [("workflow_name", "order-processing")]),
        (ExecutionFilter(status=ExecutionStatus.FAILED), [("status", 5)]),
        (ExecutionFilter(status=ExecutionStatus.WAITING), [("status", 7)]),
        (
            ExecutionFilter(workflow_name="order-processing", status=ExecutionStatus.PENDING),
            [("workflow_name", "order-processing"), ("status", 1)],
        ),
    ],
)
async def test_filters_are_sent_as_the_vendor_does(
    fake: FakeTailor, where: ExecutionFilter, conditions: list[tuple[str, Any]]
) -> None:
    """Newest first, each filter an EQ condition, the status as its number (TAILOR.md section 3)."""
    Listing(fake, 3)
    async with fake.platform() as platform:
        page = await platform.list_executions(where, first=10)
    assert len(page.executions) == 3
    [call] = fake.received
    assert call.message["pageDirection"] == "PAGE_DIRECTION_DESC"
    assert call.message["pageSize"] == 10
    assert call.message["filter"]["and"] == [
        {"condition": {"field": field, "operator": "OPERATOR_EQ", "value": value}} for field, value in conditions
    ]
    assert "view" not in call.message


async def test_order_and_count_are_asked_for(fake: FakeTailor) -> None:
    """The oldest first is ASC, and the number of runs and jobs is the total of a listing, as text or as a number."""
    fake.on["ListWorkflowExecutions"] = lambda _: {"executions": [run(3)], "totalCount": "7"}
    fake.on["ListFunctionExecutions"] = lambda _: {"executions": [{"id": "A", "error": {"name": "E"}}], "totalCount": 9}
    where = ExecutionFilter(workflow_name="order-processing", oldest_first=True)
    async with fake.platform() as platform:
        await platform.list_executions(where, first=10)
        assert await platform.count_executions(where) == 7
        assert await platform.count_executions(ExecutionFilter(workflow_name="No such")) == 0
        assert await platform.count_jobs() == 9
    calls = fake.calls("ListWorkflowExecutions")
    assert [call.message["pageDirection"] for call in calls] == ["PAGE_DIRECTION_ASC"] * 2
    assert [call.message["pageSize"] for call in calls] == [10, 1]
    assert {call.headers["gqlplugin-extensions"] for call in fake.received} == {"1"}


async def test_what_nothing_can_match_is_not_asked_for(fake: FakeTailor) -> None:
    """Filters that no run can fit, or that can't be sent, give an empty page."""
    async with fake.platform() as platform:
        for where in (
            ExecutionFilter(workflow_name="\ud800"),
            ExecutionFilter(workflow_name="Not A Name"),
            ExecutionFilter(caller_id="\udfff"),
        ):
            page = await platform.list_executions(where, first=1)
            assert (list(page.executions), list(page.cursors), page.has_next) == ([], [], False)
    assert fake.received == []


async def test_a_callers_runs_need_extensions(fake: FakeTailor) -> None:
    """The vendor's server does not know who started a run: one cheap question, then a clear refusal."""
    async with fake.platform() as platform:
        for _ in range(2):
            with pytest.raises(UnsupportedError, match="caller"):
                await platform.list_executions(ExecutionFilter(caller_id="alice"), first=1)
    assert [(one.method, one.message["pageSize"]) for one in fake.received] == [("ListWorkflows", 1)]


@pytest.mark.parametrize("largest", [1000, 2, 1])
@pytest.mark.parametrize("first", [1, 2, 3, 7, 8])
async def test_a_cursor_of_any_run_continues_after_it(fake: FakeTailor, first: int, largest: int) -> None:
    """From each run of each page, with other page sizes, the rest comes whole, once and in order."""
    listing = Listing(fake, 7, largest)
    async with fake.platform() as platform:
        seen: list[str] = []
        after = None
        while True:
            page = await platform.list_executions(EVERYTHING, first=first, after=after)
            ids = [one.id for one in page.executions]
            assert ids == listing.ids[len(seen) : len(seen) + first]
            for index, cursor in enumerate(page.cursors, len(seen) + 1):
                rest = await platform.list_executions(EVERYTHING, first=4, after=cursor)
                assert [one.id for one in rest.executions] == listing.ids[index : index + 4]
                assert rest.has_next is (len(listing.ids) > index + 4)
            seen += ids
            assert page.has_next is (len(seen) < 7)
            if not page.has_next:
                break
            after = page.cursors[-1]
    assert seen == listing.ids


async def test_a_cursor_finds_its_run_again(fake: FakeTailor) -> None:
    """Runs that came in since move the others down: a cursor goes on after its run all the same."""
    for newer in range(1, 5):
        listing = Listing(fake, 6)
        async with fake.platform() as platform:
            page = await platform.list_executions(EVERYTHING, first=6)
            for number in range(newer):
                listing.ids.insert(0, run_id(7 + number))
            for index, cursor in enumerate(page.cursors, newer + 1):
                rest = await platform.list_executions(EVERYTHING, first=1, after=cursor)
                assert [one.id for one in rest.executions] == listing.ids[index : index + 1]
                assert rest.has_next is (index + 1 < len(listing.ids))


async def test_a_cursor_of_a_run_that_is_gone_goes_on_at_its_place(fake: FakeTailor) -> None:
    """A run that was deleted since leaves its place, from which the listing goes on."""
    listing = Listing(fake, 6)
    async with fake.platform() as platform:
        page = await platform.list_executions(EVERYTHING, first=3)
        listing.ids[1] = run_id(99)
        rest = await platform.list_executions(EVERYTHING, first=6, after=page.cursors[1])
    assert [one.id for one in rest.executions] == listing.ids[2:]


async def test_with_extensions_the_servers_own_cursors_are_used(fake: FakeTailor) -> None:
    """gqlplugin's server gives a token per run, which is what a listing goes on with."""
    fake.extensions = True
    fake.on["ListWorkflowExecutions"] = lambda _: {
        "executions": [run(3, id=run_id(number)) for number in (3, 2)],
        "pageTokens": ["after-3", "after-2"],
        "nextPageToken": "after-2",
    }
    async with fake.platform() as platform:
        page = await platform.list_executions(ExecutionFilter(caller_id="alice"), first=2)
        assert page.has_next
        for cursor in page.cursors:
            await platform.list_executions(EVERYTHING, first=1, after=cursor)
    calls = fake.calls("ListWorkflowExecutions")
    assert [one.message.get("pageToken") for one in calls] == [None, "after-3", "after-2"]
    assert {one.message["view"] for one in calls} == {"VIEW_RUN"}
    assert calls[0].message["filter"]["and"][0]["condition"]["field"] == "caller_id"


BAD = ["", " ", "x", "-1", "0", "é", "\0", "\ud800", "null", "9" * 400, "f" * 100_000, "e30", "e30="]
FORGED = ['{"skip":-1}', '{"size":0}', '{"size":1001}', '{"token":1}', '{"more":1}', '{ "skip":1}', "[]", "{"]


@pytest.mark.parametrize(
    "cursor", [*BAD, *(base64.urlsafe_b64encode(one.encode()).decode().rstrip("=") for one in FORGED)]
)
async def test_what_is_no_cursor_is_not_sent(fake: FakeTailor, cursor: str) -> None:
    """Made-up cursors are refused here."""
    async with fake.platform() as platform:
        with pytest.raises(InvalidInputError, match="cursor"):
            await platform.list_executions(EVERYTHING, first=1, after=cursor)
    assert fake.received == []


async def test_a_token_that_the_server_refuses_is_a_bad_cursor(fake: FakeTailor) -> None:
    """A cursor of the right form with a token that the server did not give is the caller's mistake."""
    Listing(fake, 3)
    forged = base64.urlsafe_b64encode(b'{"token":"made-up"}').decode().rstrip("=")
    async with fake.platform() as platform:
        with pytest.raises(InvalidInputError, match="cursor"):
            await platform.list_executions(EVERYTHING, first=1, after=forged)
        fake.queue("ListWorkflowExecutions", connect_error("invalid_argument"))
        with pytest.raises(InvalidInputError) as caught:
            await platform.list_executions(EVERYTHING, first=1)
    assert "cursor" not in str(caught.value)


async def test_pages_that_never_end_do(fake: FakeTailor) -> None:
    """A server that gives the same token again and again is asked no further."""
    fake.on["ListWorkflowExecutions"] = lambda _: {"executions": [], "nextPageToken": "again"}
    async with fake.platform() as platform:
        page = await platform.list_executions(EVERYTHING, first=5)
        assert (list(page.executions), page.has_next) == ([], False)
        fake.on["ListWorkflowExecutions"] = lambda _: {"executions": [run(3)], "nextPageToken": "again"}
        page = await platform.list_executions(EVERYTHING, first=5)
        assert (len(page.executions), page.has_next) == (2, False)
    assert len(fake.received) == 4


@pytest.mark.parametrize("first", [-1, 0, 1001])
async def test_a_page_of_an_impossible_size_is_refused(fake: FakeTailor, first: int) -> None:
    """A page has 1 to 1000 runs."""
    async with fake.platform() as platform:
        with pytest.raises(InvalidInputError, match="from 1 to 1000"):
            await platform.list_executions(EVERYTHING, first=first)
    assert fake.received == []


async def test_a_listing_reads_runs_as_they_are(fake: FakeTailor) -> None:
    """Unknown statuses don't break a listing, and the outputs of its runs are not asked for one by one."""
    fake.on["ListWorkflowExecutions"] = lambda _: {
        "executions": [run("STATUS_BRAND_NEW", id=run_id(3)), run(4, id=run_id(2)), run(5, id=run_id(1))]
    }
    async with fake.platform() as platform:
        page = await platform.list_executions(EVERYTHING, first=5)
    assert [one.status.value for one in page.executions] == ["RUNNING", "SUCCESS", "FAILED"]
    assert [one.output for one in page.executions] == [None] * 3
    assert len(fake.received) == 1


async def test_an_odd_answer_to_a_listing_is_not_a_bad_cursor(fake: FakeTailor) -> None:
    """Only what the server says of the token is blamed on the cursor."""
    listing = Listing(fake, 3)
    async with fake.platform() as platform:
        page = await platform.list_executions(EVERYTHING, first=1)
        fake.queue("ListWorkflowExecutions", Response("<html>"))
        with pytest.raises(Exception, match="can't answer"):
            await platform.list_executions(EVERYTHING, first=1, after=page.cursors[0])
    assert len(listing.ids) == 3
