"""At most so many runs of a workflow execute at once, over all processes: one workflow of Temporal's admits them."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from gqlplugin.errors import NotFoundError
from gqlplugin.platform.temporal.client import answering
from gqlplugin.platform.temporal.messages import ADMISSION, MAX_MESSAGE_BYTES, admission_id

OPEN_ADMISSION = "open-admission"
"""The activity that starts the workflow that admits."""

FIND_CLOSED = "find-closed"
"""The activity that finds out which runs have ended without giving their places back."""

_MOST_RELEASES = 200
_CALL = timedelta(seconds=10)
_LOOK = timedelta(minutes=2)
_AT_ONCE = 10

_Key = tuple[str, str]

_EMPTY: tuple[list[Any], list[Any], list[Any], int, str, float] = ([], [], [], 1, "", 0.0)


@dataclass(kw_only=True)
class Request:
    """What a run asks for, or gives back.

    Attributes:
        workflow_id: The run.
        run_id: Temporal's ID of its current history.
        limit: How many may execute at once, as far as the run knows.
        known_at: Since when it knows that, as ISO 8601: of several, the one that was learnt last counts.
        since: ISO 8601, in UTC; who asked earlier goes first.
        at: When it was said: what was asked for before something was given back is given back too. Empty is for ever.
    """

    workflow_id: str
    run_id: str
    limit: int = 1
    known_at: str = ""
    since: str = ""
    at: str = ""

    @property
    def key(self) -> _Key:
        """Whose it is."""
        return self.workflow_id, self.run_id


@dataclass(kw_only=True)
class Pace:
    """How often the workflow that admits does what it does by itself.

    Attributes:
        check_seconds: After which time it looks whether those that have places still run, while others wait.
        idle_seconds: After which time without any it ends.
        most_events: How long its history gets; None leaves that to Temporal.
    """

    check_seconds: float = 30
    idle_seconds: float = 300
    most_events: int | None = None


@workflow.defn(name=ADMISSION)
class Admission:
    """Admits the runs of one workflow, in the order they have asked.

    Args:
        pace: How often it does what it does by itself.
        state: What an earlier history left.
    """

    @workflow.init
    def __init__(self, pace: Pace, state: bytes) -> None:
        held, waiting, released, self._limit, self._known_at, self._next_look = _load(state)
        self._pace = pace
        self._held: dict[_Key, float] = {(workflow_id, run_id): at for workflow_id, run_id, at in held}
        self._waiting: dict[_Key, str] = {(workflow_id, run_id): since for workflow_id, run_id, since in waiting}
        self._released: dict[_Key, str] = {(workflow_id, run_id): at for workflow_id, run_id, at in released}
        self._is_changed = False

    @workflow.run
    async def run(self, pace: Pace, state: bytes) -> None:  # noqa: ARG002 - Temporal wants the arguments of __init__
        """Admit until nobody has asked for a while."""
        watch = asyncio.create_task(self._watch())
        while True:
            await self._admit()
            if self._is_full() and len(left := self._dump()) <= MAX_MESSAGE_BYTES:
                workflow.continue_as_new(args=[pace, left])
            is_idle = not self._held and not self._waiting
            try:
                await workflow.wait_condition(lambda: self._is_changed, timeout=pace.idle_seconds if is_idle else None)
            except TimeoutError:
                watch.cancel()
                return
            self._is_changed = False

    @workflow.signal
    def acquire(self, request: Request) -> None:
        """Ask for a place; once more changes nothing."""
        self._is_changed = True
        if request.known_at >= self._known_at:
            self._limit, self._known_at = request.limit, request.known_at
        released = self._released.get(request.key)
        if released is not None and (released == "" or request.at <= released):
            return
        if request.key not in self._held:
            self._waiting.setdefault(request.key, request.since)

    @workflow.signal
    def release(self, request: Request) -> None:
        """Give a place back, or stop asking for one."""
        self._is_changed = True
        self._held.pop(request.key, None)
        self._waiting.pop(request.key, None)
        self._released.pop(request.key, None)
        self._released[request.key] = request.at
        if len(self._released) > _MOST_RELEASES:
            del self._released[next(iter(self._released))]

    async def _admit(self) -> None:
        free = max(self._limit - len(self._held), 0)
        first = nsmallest(free, self._waiting, key=lambda key: (self._waiting[key], key))
        for key in first:
            del self._waiting[key]
            self._held[key] = workflow.time()
        await asyncio.gather(*map(self._tell, first))

    async def _tell(self, key: _Key) -> None:
        workflow_id, run_id = key
        try:
            await workflow.get_external_workflow_handle(workflow_id, run_id=run_id).signal("admitted")
        except ApplicationError:  # it has ended
            self._held.pop(key, None)
            self._is_changed = True

    async def _watch(self) -> None:
        """Take their places from those that have ended without giving them back."""
        while True:
            await workflow.wait_condition(lambda: bool(self._waiting and self._held))
            if (wait := self._next_look - workflow.time()) > 0:
                await workflow.sleep(wait)
            await self._look()
            self._next_look = workflow.time() + self._pace.check_seconds
            self._is_changed = True  # also for nothing: looking fills the history

    async def _look(self) -> None:
        before = workflow.time() - self._pace.check_seconds
        suspects = [key for key, at in self._held.items() if at <= before]
        if not self._waiting or not suspects:
            return
        closed: list[list[str]] = await workflow.execute_activity(
            FIND_CLOSED, suspects, result_type=list[list[str]], start_to_close_timeout=_LOOK
        )
        for workflow_id, run_id in closed:
            self._held.pop((workflow_id, run_id), None)

    def _is_full(self) -> bool:
        info = workflow.info()
        most = self._pace.most_events
        return info.is_continue_as_new_suggested() or (most is not None and info.get_current_history_length() >= most)

    def _dump(self) -> bytes:
        tables = [
            [[*key, value] for key, value in table.items()] for table in (self._held, self._waiting, self._released)
        ]
        return zlib.compress(
            json.dumps([*tables, self._limit, self._known_at, self._next_look], separators=(",", ":")).encode()
        )


def _load(state: bytes) -> tuple[list[Any], list[Any], list[Any], int, str, float]:
    held, waiting, released, limit, known_at, next_look = json.loads(zlib.decompress(state)) if state else _EMPTY
    return held, waiting, released, limit, known_at, next_look


async def request_admission(limit: int, *, known_at: datetime | None = None, since: datetime | None = None) -> None:
    """Ask, in the workflow of a run, to be admitted; it is told by the signal `admitted`, after its `give_back` too.

    Args:
        limit: How many runs of the workflow may execute at once.
        known_at: When that was learnt; now by default.
        since: Since when it wants to execute; now by default.
    """
    request = _own_request(limit, known_at or workflow.now(), since or workflow.now())
    try:
        await _admission().signal(Admission.acquire, request)
    except ApplicationError:  # it is not there yet, or has ended, or can't take another signal now
        await workflow.execute_activity(
            OPEN_ADMISSION, args=[workflow.info().workflow_type, request], start_to_close_timeout=2 * _CALL
        )


async def give_back() -> None:
    """Give back, in the workflow of a run, what `request_admission` has got it, or stop asking."""
    try:
        await _admission().signal(Admission.release, _own_request(1, workflow.now(), workflow.now()))
    except ApplicationError as error:  # it has ended, so it knew of no place
        workflow.logger.debug("No place was given back: %s", error)


async def release(client: Client, task_queue: str, workflow_name: str, workflow_id: str, run_id: str) -> None:
    """Give back the place of a run that was ended from outside, so that the next need not wait for it to be found out.

    Args:
        client: Calls the service.
        task_queue: That of the run.
        workflow_name: Its workflow.
        workflow_id: The run.
        run_id: Temporal's ID of the history that was ended.

    Raises:
        RPCError: The service can't do it now.
    """
    request = Request(workflow_id=workflow_id, run_id=run_id)
    try:
        await client.get_workflow_handle(admission_id(task_queue, workflow_name)).signal(Admission.release, request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # where there is none, there is no place
            raise


def _own_request(limit: int, known_at: datetime, since: datetime) -> Request:
    info = workflow.info()
    known, asked, now = (one.isoformat(timespec="microseconds") for one in (known_at, since, workflow.now()))
    return Request(workflow_id=info.workflow_id, run_id=info.run_id, limit=limit, known_at=known, since=asked, at=now)


def _admission() -> workflow.ExternalWorkflowHandle[Any]:
    info = workflow.info()
    return workflow.get_external_workflow_handle(admission_id(info.task_queue, info.workflow_type))


class AdmissionActivities:
    """What admitting needs of the world.

    Args:
        client: Calls the service.
        pace: How often a workflow that is started does what it does by itself.
    """

    def __init__(self, client: Client, pace: Pace | None = None) -> None:
        self._client = client
        self._pace = pace or Pace()

    @property
    def activities(self) -> Sequence[Callable[..., Any]]:
        """For a worker."""
        return [self.open_admission, self.find_closed]

    @activity.defn(name=OPEN_ADMISSION)
    async def open_admission(self, workflow_name: str, request: Request) -> None:
        """Ask for a place of a workflow that admits, and start it where it is not there."""
        task_queue = activity.info().task_queue
        async with answering(_CALL):
            await self._client.start_workflow(
                Admission.run,
                args=[self._pace, b""],
                id=admission_id(task_queue, workflow_name),
                task_queue=task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal="acquire",
                start_signal_args=[request],
            )

    @activity.defn(name=FIND_CLOSED)
    async def find_closed(self, keys: list[list[str]]) -> list[list[str]]:
        """Which of the histories, by the IDs of workflow and run, have ended."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def is_closed(key: list[str]) -> bool:
            async with slots:
                return await self._is_closed(*key)

        found = await asyncio.gather(*map(is_closed, keys))
        return [key for key, is_found in zip(keys, found, strict=True) if is_found]

    async def _is_closed(self, workflow_id: str, run_id: str) -> bool:
        try:
            async with answering(_CALL):
                description = await self._client.get_workflow_handle(workflow_id, run_id=run_id).describe()
        except NotFoundError:
            return True
        return description.status is not WorkflowExecutionStatus.RUNNING
