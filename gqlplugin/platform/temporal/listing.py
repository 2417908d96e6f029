"""Listings of runs and of waits, from what Temporal makes visible of workflows.

A page costs two calls where the service lists what is newest first, as it does for runs, and some ten where it does
not; more only where very many runs share a millisecond, or were resumed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import temporalio.client
from temporalio.client import Client

from gqlplugin.errors import InvalidInputError, NotFoundError
from gqlplugin.execution import (
    ExecutionFilter,
    ExecutionPage,
    ExecutionStatus,
    PendingWait,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
    trim_run,
    trim_wait,
)
from gqlplugin.names import firing_name, is_name, is_startable_name
from gqlplugin.platform.temporal.calls import answering
from gqlplugin.platform.temporal.messages import CALLER, CREATED_AT, STATUS, WAIT_POINT, WAITING_SINCE, caller_mark
from gqlplugin.platform.temporal.windows import Order, Position, Windows, is_later, one_per_id

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
