"""Reads runs, jobs, waits and lists from Temporal, without a worker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isqrt
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import temporalio.client
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.client import WorkflowExecution as TemporalWorkflow
from temporalio.common import SearchAttributeKey
from temporalio.converter import DataConverter

from gqlplugin.checks import firing_name, is_name, is_startable_name
from gqlplugin.errors import FailedPreconditionError, InvalidInputError, NotFoundError
from gqlplugin.identity import load_invoker, load_user
from gqlplugin.platform.replay import MAIN
from gqlplugin.platform.temporal.client import answering
from gqlplugin.platform.temporal.messages import (
    CALLER,
    CREATED_AT,
    FACTS,
    RUN_JOBS,
    STATE,
    STATUS,
    WAIT_POINT,
    WAITING_SINCE,
    Facts,
    Outcome,
    Record,
    Recorded,
    Row,
    Start,
    State,
    caller_mark,
    job_id,
    load_error,
    load_moment,
    load_progress,
)
from gqlplugin.runs import (
    ExecutionError,
    ExecutionFilter,
    ExecutionPage,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    PendingWait,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
    by_place,
    shown,
    trim_run,
    trim_wait,
)

_ENDED = {
    WorkflowExecutionStatus.COMPLETED: ExecutionStatus.SUCCESS,
    WorkflowExecutionStatus.FAILED: ExecutionStatus.FAILED,
    WorkflowExecutionStatus.TIMED_OUT: ExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: ExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED: ExecutionStatus.CANCELED,
}
_LOST = ExecutionError("JOB_FAILED", "The run was ended by the workflow platform.")


class Describing:
    """Reads runs, by what Temporal describes their workflows as.

    Args:
        client: Calls the service.
        task_queue: Whose runs.
        timeout: For a call.
    """

    def __init__(self, client: Client, task_queue: str, timeout: timedelta) -> None:
        self._client = client
        self._task_queue = task_queue
        self._timeout = timeout

    async def find(self, run_id: str) -> WorkflowExecutionDescription:
        """The workflow of a run.

        Raises:
            NotFoundError: There is no such run.
        """
        if not _is_uuid(run_id):
            raise NotFoundError(f"There is no run {run_id!r}.")
        try:
            async with answering(self._timeout):
                found = await self._client.get_workflow_handle(run_id).describe()
        except NotFoundError:
            raise NotFoundError(f"There is no run {run_id!r}.") from None
        if found.task_queue != self._task_queue:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return found

    async def get(self, run_id: str) -> tuple[WorkflowExecutionDescription, WorkflowExecution]:
        """A run, and its workflow.

        Raises:
            NotFoundError: There is no such run.
        """
        found = await self.find(run_id)
        run = await self.of(found)
        if not run.status.is_final and (main := main_row(await live_rows(found, self._client.data_converter))):
            run.progress = load_progress(main[8])
        return found, run

    async def look_at(self, run_id: str) -> tuple[WorkflowExecution, object]:
        """A run, and what is another one when one of its jobs has changed.

        Raises:
            NotFoundError: There is no such run.
        """
        found, run = await self.get(run_id)
        return run, (found.history_length, found.run_id, await live_rows(found, self._client.data_converter))

    async def of(self, found: temporalio.client.WorkflowExecution) -> WorkflowExecution:
        """The run that a workflow is.

        Raises:
            FailedPreconditionError: It is no run.
        """
        async with answering(self._timeout):
            facts = await found.memo_value(FACTS, default=None, type_hint=Facts)
            state = await found.memo_value(STATE, default=None, type_hint=State) or State()
        if facts is None:
            raise FailedPreconditionError(f"Workflow {found.id!r} is no run of gqlplugin's.")
        status = status_of(found)
        is_success = status is ExecutionStatus.SUCCESS
        error = load_error(state.error)
        return WorkflowExecution(
            id=found.id,
            workflow_name=found.workflow_type,
            status=status,
            input=await self._input_of(found) if facts.input is None else facts.input,
            created_at=datetime.fromisoformat(facts.created_at),
            caller=load_user(facts.caller),
            invoker=load_invoker(facts.invoker),
            output=await self._output_of(found) if is_success and state.output is None else state.output,
            error=error or (_LOST if status is ExecutionStatus.FAILED else None),
            progress=load_progress(state.progress),
            attempt=state.attempt,
            depth=facts.depth,
            started_at=load_moment(state.started_at),
            finished_at=found.close_time if status.is_final else None,
            trace=facts.trace,
        )

    async def _input_of(self, found: temporalio.client.WorkflowExecution) -> str:
        handle = self._client.get_workflow_handle(found.id, run_id=found.run_id)
        async with answering(self._timeout):
            async for event in handle.fetch_history_events(page_size=1):
                started = event.workflow_execution_started_event_attributes
                [start, *_] = await self._client.data_converter.decode(list(started.input.payloads), [Start])
                return str(start.input)
        raise FailedPreconditionError(f"Run {found.id!r} has no history.")

    async def _output_of(self, found: temporalio.client.WorkflowExecution) -> str:
        handle = self._client.get_workflow_handle(found.id, run_id=found.run_id, result_type=str)
        async with answering(self._timeout):
            return str(await handle.result(follow_runs=False))


def status_of(found: temporalio.client.WorkflowExecution) -> ExecutionStatus:
    """The status of the run that a workflow is."""
    if found.status in _ENDED:
        return _ENDED[found.status]
    return ExecutionStatus(found.typed_search_attributes.get(STATUS, ExecutionStatus.PENDING.value))


async def live_rows(found: WorkflowExecutionDescription, converter: DataConverter) -> list[Row]:
    """The jobs that are running, as the process that runs them told last."""
    for activity in found.raw_description.pending_activities:
        if activity.activity_type.name == RUN_JOBS and activity.heartbeat_details.payloads:
            [rows] = await converter.decode(list(activity.heartbeat_details.payloads), [list[Any]])
            return list(rows)
    return []


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def main_row(rows: list[Row]) -> Row | None:
    """The main job's row, if it is there."""
    return next((row for row in rows if row[0] == MAIN), None)


class History:
    """Reads what runs have recorded.

    Args:
        client: Calls the service.
        timeout: For a call.
    """

    def __init__(self, client: Client, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout

    async def jobs(self, found: WorkflowExecutionDescription, run: WorkflowExecution) -> list[JobExecution]:
        """The jobs of a run as a caller sees them."""
        return shown(await self.recorded(found, run))

    async def recorded(self, found: WorkflowExecutionDescription, run: WorkflowExecution) -> list[JobExecution]:
        """What is recorded of a run, in the order it was triggered, with what is running now."""
        record = await self.record(found)
        record.put(row for row in await live_rows(found, self._client.data_converter) if _is_news(record, row))
        jobs = sorted(record.jobs(run.id).values(), key=by_place)
        return [_left(_whole(job, run), run) for job in jobs]

    async def record(self, found: temporalio.client.WorkflowExecution) -> Record:
        """What the history of a run adds up to."""
        handle = self._client.get_workflow_handle(found.id, run_id=found.run_id)
        folded = _Folded(self._client.data_converter)
        async with answering(self._timeout):
            async for event in handle.fetch_history_events():
                await folded.add(event)
        return await folded.record()


class _Folded:
    """What the events of a history add up to: the record that the last session began with, and what came after."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._base: Payload | None = None
        self._rows: list[Row] = []
        self._sessions: set[int] = set()

    async def add(self, event: HistoryEvent) -> None:
        """Heed the next event."""
        if event.HasField("workflow_execution_started_event_attributes"):
            self._begin(event.workflow_execution_started_event_attributes.input)
        elif event.HasField("activity_task_scheduled_event_attributes"):
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == RUN_JOBS:
                self._sessions.add(event.event_id)
                self._begin(scheduled.input)
        elif event.HasField("activity_task_completed_event_attributes"):
            completed = event.activity_task_completed_event_attributes
            if completed.scheduled_event_id in self._sessions:
                self._rows += (await self._read(completed.result, Outcome)).rows
        elif event.HasField("workflow_execution_update_accepted_event_attributes"):
            update = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
            if update.name == "record":
                self._rows += (await self._read(update.args, Recorded)).rows

    def _begin(self, input: Payloads) -> None:
        self._base, self._rows = input.payloads[1], []

    async def _read(self, payloads: Payloads, type_: type) -> Any:
        [value] = await self._converter.decode(list(payloads.payloads), [type_])
        return value

    async def record(self) -> Record:
        """The record."""
        text = b"" if self._base is None else (await self._converter.decode([self._base], [bytes]))[0]
        record = Record.load(text)
        record.put(self._rows)
        return record


def _is_news(record: Record, row: Row) -> bool:
    """Whether a row of a running job is not behind its record: the heartbeat may be older."""
    known = record.rows.get(row[0])
    return known is None or not JobStatus(known[3]).is_final


def _whole(job: JobExecution, run: WorkflowExecution) -> JobExecution:
    """A job with what only the run keeps of its main job."""
    return job if job.place != MAIN else replace(job, input=run.input, result=run.output)


def _left(job: JobExecution, run: WorkflowExecution) -> JobExecution:
    """A job that was left unfinished when its run was canceled."""
    if run.status is not ExecutionStatus.CANCELED or job.status.is_final:
        return job
    return replace(job, status=JobStatus.CANCELED, finished_at=run.finished_at)


class Waiting:
    """Reads where runs wait.

    Args:
        runs: Reads runs.
        history: Reads what they have recorded.
        timeout: For a call.
    """

    def __init__(self, runs: Describing, history: History, timeout: timedelta) -> None:
        self._runs = runs
        self._history = history
        self._timeout = timeout

    async def at(self, found: temporalio.client.WorkflowExecution, run: WorkflowExecution) -> PendingWait:
        """Where a run waits.

        Raises:
            FailedPreconditionError: It does not.
        """
        async with answering(self._timeout):
            state = await found.memo_value(STATE, default=None, type_hint=State)
        if state is None or (wait := state.wait) is None:
            raise FailedPreconditionError(f"Run {run.id!r} does not wait.")
        payload = wait.payload
        if payload is None:
            payload = (await self._history.record(found)).rows[wait.place][4]
        return PendingWait(
            execution=run,
            name=wait.name,
            payload=payload,
            job_id=job_id(run.id, wait.place),
            since=datetime.fromisoformat(wait.since),
            expires_at=load_moment(wait.expires_at),
        )

    async def of_run(self, where: WaitFilter) -> WaitPage:
        """The wait of the run that a filter names, if it waits and fits the rest."""
        try:
            found, run = await self._runs.get(where.run_id or "")
        except NotFoundError:
            return WaitPage(waits=[], cursors=[], has_next=False)
        if (
            run.status is not ExecutionStatus.WAITING
            or where.workflow_name not in (None, run.workflow_name)
            or where.caller_id not in (None, run.caller.id)
        ):
            return WaitPage(waits=[], cursors=[], has_next=False)
        waits = [wait for wait in [await self.at(found, run)] if where.name in (None, wait.name)]
        return WaitPage(waits=waits, cursors=[wait.job_id for wait in waits], has_next=False)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_END = 1 << 43  # milliseconds, beyond the year 2200
_BEARABLE = 500  # workflows, before it pays to look for a smaller window

Fetch = Callable[[str, int | None], Awaitable[list[TemporalWorkflow]]]
"""Gives the workflows that a condition on their moment holds for: at most so many, or all."""

Count = Callable[[str], Awaitable[int]]
"""Gives how many there are."""


class Position(NamedTuple):
    """Where a workflow is in a listing: microseconds since 1970, and its ID."""

    micros: int
    id: str

    @property
    def is_possible(self) -> bool:
        """Whether a workflow may be there."""
        return 0 <= self.micros // 1000 < _END


@dataclass(frozen=True, slots=True)
class Order:
    """What a listing is ordered by, and then by ID."""

    moment: SearchAttributeKey[datetime]
    newest_first: bool = False

    def position_of(self, found: TemporalWorkflow) -> Position:
        """Where a workflow is."""
        return Position((found.typed_search_attributes[self.moment] - _EPOCH) // _MICROSECOND, found.id)

    def is_beyond(self, position: Position, after: Position) -> bool:
        """Whether a position comes after another."""
        return position < after if self.newest_first else position > after

    def sorted(self, found: Iterable[TemporalWorkflow]) -> list[TemporalWorkflow]:
        """Workflows in this order."""
        return sorted(found, key=self.position_of, reverse=self.newest_first)


class Windows:
    """Walks through the workflows of a listing, each millisecond a step.

    Args:
        order: Of the listing.
        after: The position to begin after.
        fetch: Asks the service for workflows.
        count: Asks it how many there are.
    """

    def __init__(self, order: Order, after: Position | None, *, fetch: Fetch, count: Count) -> None:
        self._order = order
        self._after = after
        self._fetch = fetch
        self._count = count
        self._reached = 0 if after is None else self._step_of(after)
        now = Position((datetime.now(UTC) - _EPOCH) // _MICROSECOND, "")
        self._anchor = self._step_of(after or now)

    @property
    def is_at_end(self) -> bool:
        """Whether there is no more."""
        return self._reached >= _END

    async def take(self, wanted: int) -> list[TemporalWorkflow]:
        """The next workflows in their order, one per ID: about so many, maybe none before the end."""
        begin = self._reached
        found = await self._fetch(self._condition(begin, _END), wanted + 1)
        self._reached = _END
        if len(found) > wanted:
            self._reached, found = await self._narrow(begin, wanted, found)
        return self._order.sorted(self._choose(found, begin, self._reached).values())

    async def _narrow(
        self, begin: int, wanted: int, probe: list[TemporalWorkflow]
    ) -> tuple[int, list[TemporalWorkflow]]:
        """The end of a window that is small enough, and what it holds."""
        steps = sorted(map(self._step, self._choose(probe, begin, _END).values()))[:wanted]
        end = steps[-1] + 1 if steps else begin + 1
        inside = [found for found in probe if begin <= self._step(found) < end]
        number = await self._count(self._condition(begin, end))
        if number <= len(inside):
            return end, inside
        end = await self._narrowed(begin, end, number, wanted)
        return end, await self._fetch(self._condition(begin, end), None)

    async def _narrowed(self, begin: int, end: int, number: int, wanted: int) -> int:
        """The end of a window that holds enough, and not far too many unless they share a step."""
        few = begin
        while number > max(2 * wanted, _BEARABLE) and end - few > 1:
            middle = self._middle(few, end)
            held = await self._count(self._condition(begin, middle))
            if held < wanted:
                few = middle
            else:
                end, number = middle, held
        return end

    def _middle(self, few: int, end: int) -> int:
        """Where to part a window: by orders of magnitude of the distance from where workflows are, then by halves."""
        if few < self._anchor < end:
            return self._anchor
        near, far = sorted((abs(few - self._anchor), abs(end - self._anchor)))
        if far <= 4 * max(near, 1):
            return (few + end) // 2
        distance = isqrt(max(near, 1) * far)
        middle = self._anchor + (distance if few >= self._anchor else -distance)
        return min(max(middle, few + 1), end - 1)

    def _choose(self, probe: Iterable[TemporalWorkflow], begin: int, end: int) -> dict[str, TemporalWorkflow]:
        return one_per_id(
            found
            for found in probe
            if begin <= self._step(found) < end
            and (self._after is None or self._order.is_beyond(self._order.position_of(found), self._after))
        )

    def _step(self, found: TemporalWorkflow) -> int:
        return self._step_of(self._order.position_of(found))

    def _step_of(self, position: Position) -> int:
        millisecond = position.micros // 1000
        return _END - 1 - millisecond if self._order.newest_first else millisecond

    def _condition(self, begin: int, end: int) -> str:
        first, last = (_END - end, _END - begin) if self._order.newest_first else (begin, end)
        # a millisecond more, as SQLite keeps no fractions of it, and rounds
        return f"{self._order.moment.name} BETWEEN '{_written(first)}' AND '{_written(last)}'"


def one_per_id(found: Iterable[TemporalWorkflow]) -> dict[str, TemporalWorkflow]:
    """Of the workflows that have the same ID, as those of a resumed run have, the one that began last."""
    latest: dict[str, TemporalWorkflow] = {}
    for one in found:
        if one.id not in latest or is_later(one, latest[one.id]):
            latest[one.id] = one
    return latest


def is_later(one: TemporalWorkflow, other: TemporalWorkflow) -> bool:
    """Whether one workflow of an ID replaces another."""
    return (one.start_time, one.close_time is None) > (other.start_time, other.close_time is None)


def _written(millisecond: int) -> str:
    return (_EPOCH + timedelta(milliseconds=millisecond)).isoformat(timespec="milliseconds")


Found = temporalio.client.WorkflowExecution
RunOf = Callable[[Found], Awaitable[WorkflowExecution]]
WaitOf = Callable[[Found, WorkflowExecution], Awaitable[PendingWait]]
R = TypeVar("R")

MAX_PAGE = 1000

_CLOSED = {
    ExecutionStatus.SUCCESS: "ExecutionStatus = 'Completed'",
    ExecutionStatus.FAILED: "ExecutionStatus IN ('Failed', 'TimedOut')",
    ExecutionStatus.CANCELED: "ExecutionStatus IN ('Canceled', 'Terminated')",
}
_NOT_CLOSED = "ExecutionStatus NOT IN ('Completed', 'Failed', 'TimedOut', 'Canceled', 'Terminated', 'ContinuedAsNew')"
_QUEUED = f"'{ExecutionStatus.PENDING}', '{ExecutionStatus.PENDING_RESUME}'"
_NOT_CONTINUED = "ExecutionStatus != 'ContinuedAsNew'"
_CURSOR = re.compile(r"([orw])(0|[1-9a-f][0-9a-f]{0,13})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_QUOTABLE = re.compile(r"[^'\"\\\x00-\x1f\x7f]+")
_AT_ONCE = 16  # calls of one page, where a record is not to be had from the listing alone
_IDS_IN_QUERY = 200


@dataclass(frozen=True, slots=True)
class _Listed:
    """A listing: the letter that its cursors begin with, its order, and whether a run's workflow may be replaced."""

    letter: str
    order: Order
    may_be_replaced: bool = False


class Listing:
    """Lists the runs of an app.

    What has just happened may be missing for a moment, as the service makes it visible a little later.

    Args:
        client: Calls the service.
        task_queue: The app's.
        run_of: The run that a workflow is. `NotFoundError` leaves it out.
        wait_of: Where a run waits.
        timeout: For a page.

    Raises:
        ValueError: The name of the task queue can't be asked for.
    """

    def __init__(self, client: Client, task_queue: str, run_of: RunOf, wait_of: WaitOf, timeout: timedelta) -> None:
        self._client = client
        self._ours = f"TaskQueue = {_quoted(task_queue)}"
        self._run_of = run_of
        self._wait_of = wait_of
        self._timeout = timeout

    async def runs(self, where: ExecutionFilter, first: int, after: str | None) -> ExecutionPage:
        """A page of runs; see `Platform.list_executions`."""
        listed = _Listed(
            "o" if where.oldest_first else "r",
            Order(CREATED_AT, newest_first=not where.oldest_first),
            where.status is not None and where.status.is_resumable,
        )
        conditions = _of_name_and_caller(where.workflow_name, where.caller_id)
        position = _position(listed, first, after)
        if conditions is None:
            return ExecutionPage(executions=[], cursors=[], has_next=False)
        conditions.append(_status_condition(where.status))
        if not where.firings and where.workflow_name is None:
            conditions.append(f"WorkflowType NOT STARTS_WITH {_quoted(firing_name(''))}")
        found = await self._find(listed, conditions, first + 1, position)

        async def run_of(one: Found) -> WorkflowExecution:
            return trim_run(await self._run_of(one), where.values)

        runs = await self._all(run_of, found[:first])
        return ExecutionPage(
            executions=list(runs.values()),
            cursors=[_cursor(listed, one) for one in found[:first] if one.id in runs],
            has_next=len(found) > first,
        )

    async def waits(self, where: WaitFilter, first: int, after: str | None) -> WaitPage:
        """A page of the runs that wait, the longest wait first; see `Platform.list_waits`. Ignores `run_id`."""
        listed = _Listed("w", Order(WAITING_SINCE))
        conditions = _of_name_and_caller(where.workflow_name, where.caller_id)
        position = _position(listed, first, after)
        if conditions is None or not (where.name is None or is_name(where.name)):
            return WaitPage(waits=[], cursors=[], has_next=False)
        conditions.append(_status_condition(ExecutionStatus.WAITING))
        if where.name is not None:
            conditions.append(f"{WAIT_POINT.name} = {_quoted(where.name)}")
        found = await self._find(listed, conditions, first + 1, position)

        async def wait_of(one: Found) -> PendingWait:
            return trim_wait(await self._wait_of(one, await self._run_of(one)), where.values)

        waits = await self._all(wait_of, found[:first])
        return WaitPage(
            waits=list(waits.values()),
            cursors=[_cursor(listed, one) for one in found[:first] if one.id in waits],
            has_next=len(found) > first,
        )

    async def queued(self, names: Iterable[str]) -> Mapping[str, int]:
        """How many runs of workflows are due and have not begun."""
        depths: dict[str, int] = {}
        async with answering(self._timeout):
            for name in names:
                conditions = [f"WorkflowType = {_quoted(name)}", f"{_NOT_CLOSED} AND {STATUS.name} IN ({_QUEUED})"]
                depths[name] = (await self._client.count_workflows(self._query(conditions))).count
        return depths

    async def _find(
        self, listed: _Listed, conditions: Sequence[str], count: int, after: Position | None
    ) -> Sequence[Found]:
        """The next workflows of a listing: so many, unless there are fewer."""

        async def fetch(condition: str, limit: int | None) -> list[Found]:
            return await self._fetch([*conditions, condition], limit)

        async def count_of(condition: str) -> int:
            return (await self._client.count_workflows(self._query([*conditions, condition]))).count

        windows = Windows(listed.order, after, fetch=fetch, count=count_of)
        found: list[Found] = []
        wanted = count
        async with answering(self._timeout):
            while len(found) < count and not windows.is_at_end:
                more = await windows.take(wanted)
                current = await self._not_replaced(more) if listed.may_be_replaced else more
                found += current
                # very many may have been replaced: the next window is larger then
                wanted = count - len(found) if len(current) == len(more) else min(2 * wanted, MAX_PAGE)
        return found[:count]

    async def _not_replaced(self, found: Sequence[Found]) -> list[Found]:
        """Those of the workflows that are the last ones of their IDs: runs that were resumed have ended before."""
        latest: dict[str, Found] = {}
        for begin in range(0, len(found), _IDS_IN_QUERY):
            ids = ", ".join(_quoted(one.id) for one in found[begin : begin + _IDS_IN_QUERY])
            latest |= one_per_id(await self._fetch([f"WorkflowId IN ({ids})"], None))
        return [one for one in found if one.id not in latest or not is_later(latest[one.id], one)]

    async def _fetch(self, conditions: Iterable[str], limit: int | None) -> list[Found]:
        page_size = MAX_PAGE if limit is None else min(limit, MAX_PAGE)
        listed = self._client.list_workflows(self._query(conditions), limit=limit, page_size=page_size)
        return [one async for one in listed]

    def _query(self, conditions: Iterable[str]) -> str:
        return " AND ".join([self._ours, *conditions])

    async def _all(self, record_of: Callable[[Found], Awaitable[R]], found: Iterable[Found]) -> dict[str, R]:
        records: dict[str, R] = {}
        slots = asyncio.Semaphore(_AT_ONCE)

        async def add(one: Found) -> tuple[str, R] | None:
            async with slots:
                with suppress(NotFoundError):  # deleted since it was listed
                    return one.id, await record_of(one)
            return None

        for record in await asyncio.gather(*map(add, found)):
            if record is not None:
                records[record[0]] = record[1]
        return records


def _of_name_and_caller(workflow_name: str | None, caller_id: str | None) -> list[str] | None:
    """The conditions that a filter is; None where nothing can match."""
    conditions = []
    if workflow_name is not None:
        if not is_startable_name(workflow_name):
            return None
        conditions.append(f"WorkflowType = {_quoted(workflow_name)}")
    if caller_id is not None:
        conditions.append(f"{CALLER.name} = {_quoted(caller_mark(caller_id))}")
    return conditions


def _status_condition(status: ExecutionStatus | None) -> str:
    if status is None:
        return _NOT_CONTINUED
    return _CLOSED.get(status) or f"{_NOT_CLOSED} AND {STATUS.name} = {_quoted(status.value)}"


def _quoted(text: str) -> str:
    # the service reads what is escaped in ways of its own, so that only what needs no escape can be asked for
    if _QUOTABLE.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} can't be part of a query: "
            "a task queue's name must hold no quotes, backslashes or control characters."
        )
    return f"'{text}'"


def _position(listed: _Listed, first: int, after: str | None) -> Position | None:
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInputError(f"`first` must be from 1 to {MAX_PAGE}, not {first}.")
    if after is None:
        return None
    match = _CURSOR.fullmatch(after)
    if match is None or match[1] != listed.letter:
        raise _bad_cursor()
    position = Position(int(match[2], 16), match[3])
    if not position.is_possible:
        raise _bad_cursor()
    return position


def _cursor(listed: _Listed, found: Found) -> str:
    position = listed.order.position_of(found)
    return f"{listed.letter}{position.micros:x}.{position.id}"


def _bad_cursor() -> InvalidInputError:
    return InvalidInputError("`after` is not a cursor of this listing: pass one that it returned.")
