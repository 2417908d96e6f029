"""Concurrency policies: never more runs at once than may be, and each gets its turn."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from gqlplugin.platform.temporal.admission import (
    Admission,
    AdmissionActivities,
    Pace,
    Request,
    give_back,
    release,
    request_admission,
)
from gqlplugin.platform.temporal.messages import ADMISSION, admission_id
from tests.platform.temporal.waiting import until

pytestmark = pytest.mark.anyio

NAME = "limited"
EARLY = datetime(2026, 1, 1, tzinfo=UTC)
BRISK = Pace(check_seconds=0.3, idle_seconds=60)

Run = WorkflowHandle["Limited", None]


@workflow.defn(name=NAME)
class Limited:
    """What a run does about its limit: it asks, works when it is admitted, and gives its place back."""

    def __init__(self) -> None:
        self._is_admitted = False

    @workflow.run
    async def run(self, limit: int, since_seconds: int | None = None, rounds: int = 1) -> None:
        since = None if since_seconds is None else EARLY + timedelta(seconds=since_seconds)
        for _ in range(rounds):
            await request_admission(limit, since=since)
            await workflow.wait_condition(lambda: self._is_admitted)
            self._is_admitted = False
            await workflow.execute_activity(
                "work", workflow.info().workflow_id, start_to_close_timeout=timedelta(minutes=1)
            )
            await give_back()

    @workflow.signal
    def admitted(self) -> None:
        self._is_admitted = True


@dataclass
class Work:
    """The work of the runs: who does it now, and who has done it."""

    seconds: float = 0.0
    now: Counter[str] = field(default_factory=Counter)
    most: int = 0
    order: list[str] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    is_held: bool = False

    @activity.defn(name="work")
    async def work(self, run_id: str) -> None:
        self.order.append(run_id)
        self.now[run_id] += 1
        self.most = max(self.most, self.now.total())
        try:
            if self.is_held:
                await self.goes_on.wait()
            await asyncio.sleep(self.seconds)
        finally:
            self.now[run_id] -= 1


@dataclass
class Place:
    """A server, a task queue and what works there."""

    client: Client
    task_queue: str
    work: Work = field(default_factory=Work)
    pace: Pace = field(default_factory=lambda: BRISK)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        """A process that runs workflows."""
        async with Worker(
            self.client,
            task_queue=self.task_queue,
            workflows=[Admission, Limited],
            activities=[*AdmissionActivities(self.client, self.pace).activities, self.work.work],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=100,
            graceful_shutdown_timeout=timedelta(0),
        ):
            yield

    async def start(self, limit: int, since_seconds: int | None = None, rounds: int = 1) -> Run:
        """Start a run."""
        return await self.client.start_workflow(
            Limited.run, args=[limit, since_seconds, rounds], id=f"{uuid4()}", task_queue=self.task_queue
        )

    @property
    def admission(self) -> WorkflowHandle[Any, Any]:
        """What admits."""
        return self.client.get_workflow_handle(admission_id(self.task_queue, NAME))

    async def events(self) -> Sequence[HistoryEvent]:
        """What has happened to it; nothing before it is there."""
        try:
            return await events_of(self.admission)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return ()
            raise


async def request_of(run: Run, limit: int = 1) -> Request:
    """What a run that is there now asks for."""
    assert run.first_execution_run_id is not None
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return Request(workflow_id=run.id, run_id=run.first_execution_run_id, limit=limit, since=now, at=now)


async def events_of(handle: WorkflowHandle[Any, Any]) -> Sequence[HistoryEvent]:
    """What has happened to a workflow."""
    return (await handle.fetch_history()).events


async def ended(runs: list[Run], seconds: float = 60) -> None:
    """Wait until runs have ended well."""
    async with asyncio.timeout(seconds):
        await asyncio.gather(*(run.result() for run in runs))


async def replays(place: Place, workflow_id: str) -> int:
    """Replay every history that a workflow has had; how many there were."""
    count = 0
    async for found in place.client.list_workflows(f"WorkflowId = '{workflow_id}'"):
        handle = place.client.get_workflow_handle(found.id, run_id=found.run_id)
        replayer = Replayer(workflows=[Admission, Limited], workflow_runner=UnsandboxedWorkflowRunner())
        await replayer.replay_workflow(await handle.fetch_history())
        count += 1
    return count


@pytest.fixture
async def place(temporal_address: str, task_queue: str) -> Place:
    """A task queue of its own."""
    return Place(await Client.connect(temporal_address), task_queue)


@pytest.mark.parametrize(("limit", "count"), [(1, 10), (3, 50)])
async def test_never_more_than_the_limit_at_once(place: Place, limit: int, count: int) -> None:
    """Of many runs each gets its turn, as many at once as may be and never more."""
    place.work.is_held = True
    async with place.worker():
        runs = await asyncio.gather(*(place.start(limit) for _ in range(count)))
        await until(lambda: len(place.work.order) == limit)
        place.work.goes_on.set()
        await ended(runs)
    assert place.work.most == limit
    assert sorted(place.work.order) == sorted(run.id for run in runs)


async def test_the_first_to_ask_goes_first(place: Place) -> None:
    """Those that wait are admitted in the order of their `since`, whatever the order in which it was heard of them."""
    place.work.is_held = True
    async with place.worker():
        first = await place.start(1, 100)
        await until(lambda: len(place.work.order) == 1)
        later = [await place.start(1, number) for number in (30, 10, 20, 50, 40)]
        await until_asked(place, 6)
        place.work.goes_on.set()
        await ended([first, *later])
    assert place.work.order == [first.id, *(later[index].id for index in (1, 2, 0, 4, 3))]


async def until_asked(place: Place, count: int) -> None:
    """Wait until so many have asked for a place."""

    async def have_asked() -> bool:
        asked = [event.workflow_execution_signaled_event_attributes.signal_name for event in await place.events()]
        return asked.count("acquire") == count

    await until(have_asked)


async def test_a_run_may_ask_again(place: Place) -> None:
    """A run that gave its place back gets one again when it asks again."""
    async with place.worker():
        runs = [await place.start(1, rounds=3) for _ in range(3)]
        await ended(runs)
    assert place.work.most == 1
    assert Counter(place.work.order) == {run.id: 3 for run in runs}


async def test_asking_twice_takes_one_place(place: Place) -> None:
    """A request that is heard again takes no second place, and is not answered twice."""
    place.work.is_held = True
    async with place.worker():
        first = await place.start(2)
        await until(lambda: len(place.work.order) == 1)
        for _ in range(2):
            await place.admission.signal(Admission.acquire, await request_of(first, 2))
        second, third = await place.start(2), await place.start(2)
        await until(lambda: len(place.work.order) == 2)
        place.work.goes_on.set()
        await ended([first, second, third])
        told = [event.HasField("workflow_execution_signaled_event_attributes") for event in await events_of(first)]
    assert place.work.most == 2
    assert sum(told) == 1


async def test_the_newest_limit_counts(place: Place) -> None:
    """A limit that was raised or lowered holds from the next request on."""
    place.work.is_held = True
    async with place.worker():
        runs = [await place.start(1) for _ in range(2)]
        await until_asked(place, 2)
        runs.append(await place.start(3))
        await until(lambda: len(place.work.order) == 3)
        runs.append(await place.start(1))
        await until_asked(place, 4)
        place.work.goes_on.set()
        await ended(runs)
    assert place.work.most == 3


async def test_giving_back_nothing_is_nothing(place: Place) -> None:
    """To release a place that nobody has, or of a workflow that nobody has asked for, changes nothing."""
    await release(place.client, place.task_queue, NAME, "unknown", str(uuid4()))
    place.work.is_held = True
    async with place.worker():
        first = await place.start(1)
        await until(lambda: len(place.work.order) == 1)
        await release(place.client, place.task_queue, NAME, first.id, str(uuid4()))
        second = await place.start(1)
        await until_asked(place, 2)
        place.work.goes_on.set()
        await ended([first, second])
    assert place.work.most == 1


@pytest.mark.parametrize("is_ended", [True, False])
async def test_a_place_that_was_given_back_before_it_was_asked_for_stays_free(place: Place, is_ended: bool) -> None:
    """A release that overtakes its request leaves no place taken: not its own, and not that of who ended the run."""
    place.pace = Pace(check_seconds=600)
    place.work.is_held = True
    async with place.worker():
        first = await place.start(1)
        await until(lambda: len(place.work.order) == 1)
        elsewhere = Place(place.client, f"{place.task_queue}-elsewhere")  # nobody works there: it runs for ever
        request = await request_of(await elsewhere.start(1))
        later = (await request_of(first)).at
        given_back = Request(workflow_id=request.workflow_id, run_id=request.run_id, at="" if is_ended else later)
        await place.admission.signal(Admission.release, given_back)
        await place.admission.signal(Admission.acquire, request)
        last = await place.start(1)
        await until_asked(place, 3)
        place.work.goes_on.set()
        await ended([first, last])


async def test_a_run_that_was_terminated_gives_its_place_back(place: Place) -> None:
    """Whoever terminates a run gives its place back at once."""
    place.pace = Pace(check_seconds=600)
    place.work.is_held = True
    async with place.worker():
        first = await place.start(1)
        await until(lambda: len(place.work.order) == 1)
        second = await place.start(1)
        await until_asked(place, 2)
        await first.terminate()
        assert first.first_execution_run_id is not None
        await release(place.client, place.task_queue, NAME, first.id, first.first_execution_run_id)
        await until(lambda: place.work.order == [first.id, second.id])
        place.work.goes_on.set()
        await ended([second])


async def test_runs_that_ended_without_a_word_are_found_out(place: Place) -> None:
    """The places of runs that were terminated, and of one that was deleted, are free again after a while."""
    place.work.is_held = True
    async with place.worker():
        gone = [await place.start(2) for _ in range(2)]
        await until(lambda: len(place.work.order) == 2)
        waiting = [await place.start(2) for _ in range(3)]
        await until_asked(place, 5)
        for run in (gone[0], waiting[0]):
            await run.terminate()
        await delete(place, gone[1])
        await until(lambda: len(place.work.order) == 4)
        place.work.goes_on.set()
        await ended(waiting[1:])
        assert await replays(place, place.admission.id) == 1
    assert set(place.work.order[2:]) == {run.id for run in waiting[1:]}


async def delete(place: Place, run: Run) -> None:
    """Delete a run, as an operator does."""
    execution = WorkflowExecution(workflow_id=run.id)
    request = DeleteWorkflowExecutionRequest(namespace=place.client.namespace, workflow_execution=execution)
    await place.client.workflow_service.delete_workflow_execution(request)


async def test_a_run_that_goes_on_keeps_its_place(place: Place) -> None:
    """To look whether runs have ended takes no place from one that has not."""
    place.work.is_held = True
    async with place.worker():
        first = await place.start(1)
        await until(lambda: len(place.work.order) == 1)
        second = await place.start(1)

        async def has_looked() -> bool:
            events = await place.events()
            return sum(event.HasField("activity_task_completed_event_attributes") for event in events) >= 2

        await until(has_looked)
        assert place.work.order == [first.id]
        place.work.goes_on.set()
        await ended([first, second])


async def test_a_worker_that_dies_loses_no_place(place: Place) -> None:
    """Another worker goes on where one ended: all get through, and never more at once than may be."""
    place.work.seconds = 0.01
    async with place.worker():
        runs = [await place.start(2) for _ in range(15)]
        await until(lambda: len(place.work.order) >= 4)
    begun = len(place.work.order)
    assert begun < 15
    async with place.worker():
        await ended(runs)
        assert await replays(place, place.admission.id) == 1
        assert await replays(place, runs[-1].id) == 1
    assert place.work.most <= 2
    assert set(place.work.order) == {run.id for run in runs}


async def test_it_goes_on_in_a_new_history(place: Place) -> None:
    """What admits begins new histories before Temporal's limits, and forgets nobody."""
    place.pace = Pace(check_seconds=0.3, most_events=20)
    place.work.is_held = True
    async with place.worker():
        runs = await asyncio.gather(*(place.start(2) for _ in range(20)))
        await until(lambda: len(place.work.order) == 2)
        place.work.goes_on.set()
        await ended(runs)
        assert await replays(place, place.admission.id) > 3
    assert place.work.most == 2
    assert len(place.work.order) == 20


async def test_waiting_alone_fills_no_history(place: Place) -> None:
    """While a run works for long and others wait, what admits begins new histories too."""
    place.pace = Pace(check_seconds=0.05, most_events=20)
    place.work.is_held = True
    async with place.worker():
        runs = [await place.start(1) for _ in range(2)]
        await until(lambda: len(place.work.order) == 1)
        first = (await place.admission.describe()).run_id

        async def is_another() -> bool:
            return (await place.admission.describe()).run_id != first

        await until(is_another)
        assert len(place.work.order) == 1
        place.work.goes_on.set()
        await ended(runs)


async def test_it_ends_when_nobody_asks(place: Place) -> None:
    """What admits ends when there was nothing to do for a while, and is there again for the next that asks."""
    place.pace = Pace(idle_seconds=0.2)
    async with place.worker():
        await ended([await place.start(1)])
        await place.admission.result()
        await ended([await place.start(1)])
        await place.admission.result()
        description = await place.admission.describe()
    assert description.status is WorkflowExecutionStatus.COMPLETED
    assert description.workflow_type == ADMISSION
    assert len(place.work.order) == 2
