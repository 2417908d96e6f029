"""Listings of runs and of waits, of what a real server makes visible."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import temporalio.client
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RawValue, SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from gqlplugin.errors import InvalidInputError, NotFoundError, PlatformUnavailableError
from gqlplugin.identity import User
from gqlplugin.platform.temporal.messages import WAIT_POINT, WAITING_SINCE, NewRun
from gqlplugin.platform.temporal.reading import Describing, Listing
from gqlplugin.platform.temporal.starts import new_run
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, PendingWait, WaitFilter, WorkflowExecution
from tests.loopback import free_port
from tests.platform.temporal.waiting import until

pytestmark = pytest.mark.anyio

TIMEOUT = timedelta(seconds=30)
NOW = datetime.now(UTC).replace(microsecond=0)
ALICE, BOB = User("alice", "user"), User("bob", "user")
PENDING, WAITING = ExecutionStatus.PENDING, ExecutionStatus.WAITING
SUCCESS, FAILED, CANCELED = ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.CANCELED
HOSTILE = ["' OR '1'='1", "a' --", 'b"c', "back\\slash", "\\' OR 1=1", "ünï", "\ud800", "a\nb", "", "%", "x" * 3000]


@workflow.defn(dynamic=True)
class Ending:
    """A run that ends as its input says."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        end = workflow.memo_value("end", default="", type_hint=str)
        if end == "continue" and workflow.info().continued_run_id is None:
            workflow.continue_as_new(args=[])
        if end == "move":
            workflow.continue_as_new(args=[], task_queue=f"{workflow.info().task_queue}-of-others")
        if end == "fail":
            raise ApplicationError("It failed.")
        if end == "sleep":
            await workflow.sleep(timedelta(days=1))
        return '"done"'


async def wait_of(found: temporalio.client.WorkflowExecution, waiting: WorkflowExecution) -> PendingWait:
    """Where a run waits."""
    attributes = found.typed_search_attributes
    return PendingWait(
        execution=waiting, name=attributes[WAIT_POINT], payload="null", job_id="", since=attributes[WAITING_SINCE]
    )


class Shop:
    """The runs of a task queue, started as the platform does, and their listing."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self.client = client
        self.task_queue = task_queue
        self.describing = Describing(client, task_queue, TIMEOUT)
        self.listing = Listing(client, task_queue, self.describing.of, wait_of, TIMEOUT)

    async def start(
        self, new: NewRun, *, end: str = "", waits: tuple[str, datetime] | None = None, **options: Any
    ) -> temporalio.client.WorkflowHandle[Any, Any]:
        pairs: list[SearchAttributePair[Any]] = list(new.search_attributes.search_attributes)
        if waits is not None:
            pairs += [SearchAttributePair(WAIT_POINT, waits[0]), SearchAttributePair(WAITING_SINCE, waits[1])]
        return await self.client.start_workflow(
            new.name,
            id=new.run_id,
            task_queue=self.task_queue,
            memo={**new.memo, "end": end},
            search_attributes=TypedSearchAttributes(pairs),
            **options,
        )

    async def start_all(self, *runs: NewRun) -> list[str]:
        await asyncio.gather(*map(self.start, runs))
        await self.shows(len(runs))
        return [new.run_id for new in runs]

    async def shows(self, number: int, condition: str = "") -> None:
        """Wait until so many workflows are visible."""
        query = f"TaskQueue = '{self.task_queue}'{condition}"

        async def is_visible() -> bool:
            return (await self.client.count_workflows(query)).count == number

        await until(is_visible)

    async def ids(self, first: int = 100, after: str | None = None, **where: Any) -> list[str]:
        page = await self.listing.runs(ExecutionFilter(**where), first, after)
        return [run.id for run in page.executions]

    async def waiting(self, first: int = 100, after: str | None = None, **where: Any) -> list[str]:
        page = await self.listing.waits(WaitFilter(**where), first, after)
        return [wait.execution.id for wait in page.waits]


@pytest.fixture
def shop(temporal_client: Client, task_queue: str) -> Shop:
    return Shop(temporal_client, task_queue)


def run(age: float = 0, *, name: str = "ship-order", caller: User = ALICE, status: ExecutionStatus = PENDING) -> NewRun:
    """A new run, as of so many seconds ago."""
    new = new_run(name, "{}", caller=caller, invoker=None, heartbeat_seconds=30)
    created_at = (NOW - timedelta(seconds=age)).isoformat()
    return replace(new, status=status.value, facts=replace(new.facts, created_at=created_at))


def wait(age: float, name: str = "approval") -> tuple[str, datetime]:
    """A wait, as of so many seconds ago."""
    return name, NOW - timedelta(seconds=age)


async def test_newest_first(shop: Shop) -> None:
    """Runs come newest first, whatever the order of their starts, down to the microsecond; any cursor goes on."""
    ages = [30, 0.0001, 5, 0.000099, 86400 * 300, 0.0002, 7, 3600]
    runs = [run(age) for age in ages]
    await shop.start_all(*runs)
    expected = [new.run_id for _, new in sorted(zip(ages, runs, strict=True), key=lambda pair: pair[0])]
    page = await shop.listing.runs(ExecutionFilter(), 8, None)
    assert [one.id for one in page.executions] == expected
    assert not page.has_next
    assert page.executions[-1].created_at == NOW - timedelta(days=300)
    for number, cursor in enumerate(page.cursors, 1):
        rest = await shop.listing.runs(ExecutionFilter(), 3, cursor)
        assert [one.id for one in rest.executions] == expected[number : number + 3]
        assert rest.has_next == (number + 3 < 8)


async def test_walk_through_many(shop: Shop) -> None:
    """A walk through many, some of the same moment, gives each once, in order."""
    runs = [run(3600 if number % 2 else number % 11) for number in range(120)]
    await shop.start_all(*runs)
    expected = sorted(((new.facts.created_at, new.run_id) for new in runs), reverse=True)
    seen: list[str] = []
    after = None
    while True:
        page = await shop.listing.runs(ExecutionFilter(), 25, after)
        seen += [one.id for one in page.executions]
        if not page.has_next:
            break
        after = page.cursors[-1]
    assert seen == [run_id for _, run_id in expected]


async def test_filters(shop: Shop) -> None:
    """Runs are found by workflow, firing, caller and status, and by several of them."""
    ids = await shop.start_all(
        run(0),
        run(1, name="bill-order"),
        run(2, caller=BOB),
        run(3, name="executor/nightly", status=ExecutionStatus.RUNNING),
        run(4, caller=BOB, status=ExecutionStatus.RUNNING),
        run(5, status=ExecutionStatus.PENDING_RETRY),
        run(6, status=ExecutionStatus.PENDING_RESUME),
    )
    assert await shop.ids() == ids
    assert await shop.ids(workflow_name="bill-order") == [ids[1]]
    assert await shop.ids(workflow_name="executor/nightly") == [ids[3]]
    assert await shop.ids(workflow_name="nightly") == []
    assert await shop.ids(caller_id="bob") == [ids[2], ids[4]]
    assert await shop.ids(caller_id="bob", status=ExecutionStatus.RUNNING, workflow_name="ship-order") == [ids[4]]
    assert await shop.ids(status=PENDING) == ids[:3]
    assert await shop.ids(status=ExecutionStatus.RUNNING) == ids[3:5]
    assert await shop.ids(status=ExecutionStatus.PENDING_RETRY) == [ids[5]]
    assert await shop.ids(status=ExecutionStatus.PENDING_RESUME) == [ids[6]]
    assert await shop.ids(status=WAITING) == []


async def test_oldest_first_and_without_firings(shop: Shop) -> None:
    """Runs are listed from the oldest on, and the firings of executors are left out where that is asked for."""
    ids = await shop.start_all(run(0), run(1, name="executor/nightly"), run(2, name="bill-order"), run(3))
    assert await shop.ids(oldest_first=True) == ids[::-1]
    assert await shop.ids(firings=False) == [ids[0], *ids[2:]]
    assert await shop.ids(firings=False, oldest_first=True, workflow_name="executor/nightly") == [ids[1]]
    where = ExecutionFilter(oldest_first=True)
    page = await shop.listing.runs(where, 2, None)
    rest = await shop.listing.runs(where, 2, page.cursors[-1])
    assert [one.id for one in (*page.executions, *rest.executions)] == ids[::-1]
    assert not rest.has_next
    with pytest.raises(InvalidInputError):
        await shop.listing.runs(ExecutionFilter(), 2, page.cursors[-1])


async def test_statuses_of_ended_runs(shop: Shop) -> None:
    """How a run ended is its status, whatever it said last before; one that goes on in a new history is one run."""
    running = ExecutionStatus.RUNNING
    names = ["", "fail", "sleep", "sleep", "sleep", "continue"]
    runs = [run(age, status=running) for age in range(len(names))]
    limits: list[dict[str, Any]] = [{} for _ in names]
    limits[4] = {"execution_timeout": timedelta(seconds=1)}
    worker = Worker(
        shop.client, task_queue=shop.task_queue, workflows=[Ending], workflow_runner=UnsandboxedWorkflowRunner()
    )
    async with worker:
        handles = [await shop.start(new, end=end, **limit) for new, end, limit in zip(runs, names, limits, strict=True)]
        await shop.start(run(9, status=running), end="move")  # only the history that it has left is here
        await handles[2].cancel()
        await handles[3].terminate()
        await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
    ids = [new.run_id for new in runs]
    await shop.shows(2, " AND ExecutionStatus = 'ContinuedAsNew'")
    await shop.shows(0, " AND ExecutionStatus = 'Running'")
    assert await shop.ids(status=SUCCESS) == [ids[0], ids[5]]
    assert await shop.ids(status=FAILED) == [ids[1], ids[4]]
    assert await shop.ids(status=CANCELED) == [ids[2], ids[3]]
    assert await shop.ids(status=running) == []
    page = await shop.listing.runs(ExecutionFilter(), 10, None)
    statuses = [SUCCESS, FAILED, CANCELED, CANCELED, FAILED, SUCCESS]
    assert [(one.id, one.status) for one in page.executions] == list(zip(ids, statuses, strict=True))


async def test_resumed_runs_are_listed_once(shop: Shop) -> None:
    """A run that was resumed is listed once, as it is now, and not by the status that it had before."""
    runs = [run(age) for age in range(6)]
    ids = [new.run_id for new in runs]
    for new in runs:
        await (await shop.start(new)).terminate()
    again: dict[str, Any] = {"id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY}
    for new in runs[:4]:
        await shop.start(replace(new, status=ExecutionStatus.PENDING_RESUME.value), **again)
    for new in runs[:2]:
        await shop.client.get_workflow_handle(new.run_id).terminate()
    await shop.shows(10)
    await shop.shows(2, " AND ExecutionStatus = 'Running'")
    assert await shop.ids() == ids
    assert await shop.ids(status=ExecutionStatus.PENDING_RESUME) == ids[2:4]
    assert await shop.ids(status=CANCELED) == [*ids[:2], *ids[4:]]
    page = await shop.listing.runs(ExecutionFilter(status=CANCELED), 2, None)
    assert [one.id for one in page.executions] == ids[:2]
    assert page.has_next
    rest = await shop.listing.runs(ExecutionFilter(status=CANCELED), 2, page.cursors[-1])
    assert [one.id for one in rest.executions] == ids[4:]
    assert not rest.has_next


async def test_only_runs_of_the_task_queue(shop: Shop) -> None:
    """Runs of another app, and workflows that are no runs, are not listed."""
    odd = Shop(shop.client, f"{shop.task_queue}/% ünï`#;-")
    [theirs] = [(await odd.start(run(0))).id]
    await shop.client.start_workflow("something", id=f"{shop.task_queue}/1", task_queue=shop.task_queue)
    [ours] = [(await shop.start(run(1))).id]
    await shop.shows(2)

    async def is_visible() -> bool:
        return await odd.ids() != []

    await until(is_visible)
    assert await shop.ids() == [ours]
    assert await odd.ids() == [theirs]


@pytest.mark.parametrize("name", ["a'b", 'a"b', "a\\b", "a\nb", ""])
async def test_task_queues_that_can_not_be_asked_for(temporal_client: Client, name: str) -> None:
    """A task queue whose name would not survive a query is refused at once."""
    with pytest.raises(ValueError, match="a task queue's name must hold no quotes"):
        Shop(temporal_client, name)


@pytest.mark.parametrize("text", HOSTILE)
async def test_filters_are_no_queries(shop: Shop, text: str) -> None:
    """What a client filters by is never read as a part of a query."""
    [run_id] = await shop.start_all(run(0, status=WAITING))
    assert await shop.ids(workflow_name=text) == []
    assert await shop.ids(caller_id=text) == []
    assert await shop.waiting(name=text) == []
    assert await shop.waiting(workflow_name=text) == []
    assert await shop.waiting(caller_id=text) == []
    assert await shop.ids() == [run_id]


async def test_strange_callers_are_found(shop: Shop) -> None:
    """A caller's ID may hold anything."""
    strange = [User(text, "user") for text in HOSTILE if text not in ("\ud800", "")]
    ids = await shop.start_all(*(run(age, caller=user) for age, user in enumerate(strange)))
    for run_id, user in zip(ids, strange, strict=True):
        assert await shop.ids(caller_id=user.id) == [run_id]


async def test_waits(shop: Shop) -> None:
    """Runs that wait come longest wait first; those that ended while waiting, and those that go on, do not."""
    ages = [1, 0.0001, 3600, 0.0002, 86400 * 40]
    runs = [run(0, status=WAITING, caller=BOB if age == 3600 else ALICE) for age in ages]
    runs[0] = replace(runs[0], name="bill-order")
    for new, age in zip(runs, ages, strict=True):
        await shop.start(new, waits=wait(age, "payment" if age == 1 else "approval"))
    ended = await shop.start(run(0, status=WAITING), waits=wait(9))
    await ended.terminate()
    await shop.start(run(0, status=ExecutionStatus.RUNNING), waits=wait(9))
    await shop.shows(7)
    await shop.shows(1, " AND ExecutionStatus = 'Terminated'")
    ids = [runs[number].run_id for number in (4, 2, 0, 3, 1)]
    page = await shop.listing.waits(WaitFilter(), 5, None)
    assert [one.execution.id for one in page.waits] == ids
    assert not page.has_next
    first = page.waits[0]
    assert (first.name, first.since) == ("approval", NOW - timedelta(days=40))
    for number, cursor in enumerate(page.cursors, 1):
        rest = await shop.listing.waits(WaitFilter(), 2, cursor)
        assert [one.execution.id for one in rest.waits] == ids[number : number + 2]
        assert rest.has_next == (number + 2 < 5)
    assert await shop.waiting(name="payment") == [ids[2]]
    assert await shop.waiting(workflow_name="bill-order") == [ids[2]]
    assert await shop.waiting(caller_id="bob") == [ids[1]]
    assert await shop.waiting(name="approval", caller_id="alice") == [ids[0], ids[3], ids[4]]


async def test_foreign_cursors_are_refused(shop: Shop) -> None:
    """What is not a cursor of a listing is refused, such as one of the other listing."""
    await shop.start(run(0, status=WAITING), waits=wait(0))
    await shop.shows(1)
    [of_runs] = (await shop.listing.runs(ExecutionFilter(), 1, None)).cursors
    [of_waits] = (await shop.listing.waits(WaitFilter(), 1, None)).cursors
    assert await shop.ids(1, of_runs) == []
    assert await shop.waiting(1, of_waits) == []
    wrong = [
        "",
        "1f",
        of_runs.upper(),
        of_runs[:-1],
        f"{of_runs} ",
        f"r0{of_runs[1:]}",
        f"rf{of_runs[1:]}",
    ]
    for cursor in [*wrong, of_waits, "' OR '1'='1", "ü", "\ud800", "r0." + "٣" * 36]:
        with pytest.raises(InvalidInputError, match="not a cursor of this listing"):
            await shop.listing.runs(ExecutionFilter(), 1, cursor)
    for cursor in [*wrong, of_runs]:
        with pytest.raises(InvalidInputError, match="not a cursor of this listing"):
            await shop.listing.waits(WaitFilter(workflow_name="no name"), 1, cursor)


@pytest.mark.parametrize("first", [-1, 0, 1001])
async def test_page_sizes(shop: Shop, first: int) -> None:
    """A page holds from 1 to 1000."""
    with pytest.raises(InvalidInputError, match=f"`first` must be from 1 to 1000, not {first}."):
        await shop.listing.runs(ExecutionFilter(), first, None)
    with pytest.raises(InvalidInputError, match=f"`first` must be from 1 to 1000, not {first}."):
        await shop.listing.waits(WaitFilter(), first, None)


async def test_deleted_meanwhile(shop: Shop) -> None:
    """A run that is deleted while it is being listed is left out, and so is its cursor."""
    ids = await shop.start_all(run(0), run(1), run(2))

    async def run_of(found: temporalio.client.WorkflowExecution) -> WorkflowExecution:
        if found.id == ids[1]:
            raise NotFoundError
        return await shop.describing.of(found)

    listing = Listing(shop.client, shop.task_queue, run_of, wait_of, TIMEOUT)
    page = await listing.runs(ExecutionFilter(), 2, None)
    assert [one.id for one in page.executions] == [ids[0]]
    assert page.has_next
    assert (await listing.runs(ExecutionFilter(), 9, page.cursors[0])).executions[0].id == ids[2]


async def test_no_service() -> None:
    """Without a service the platform is unavailable, within the time-out."""
    client = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True)
    shop = Shop(client, "shop")
    listing = Listing(client, "shop", shop.describing.of, wait_of, timedelta(seconds=1))
    async with asyncio.timeout(20):
        with pytest.raises(PlatformUnavailableError):
            await listing.runs(ExecutionFilter(), 1, None)
