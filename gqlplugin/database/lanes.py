"""Starting what an outbox holds: many at once, and those of one record one after another."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    contained,
)
from gqlplugin.execution import ExecutionStatus
from gqlplugin.identity import load_invoker, load_user
from gqlplugin.platform.base import Platform
from gqlplugin.telemetry import load_trace, starting, within_trace

_logger = logging.getLogger("gqlplugin.outbox")

MAX_HELD = 2000
_MAX_WAITING_IN_LANE = 20
_MAX_HELD_FOR_MORE_OF_A_LANE = 1000
_MAX_REMEMBERED = 10_000
_MAX_TRIES = 5
_MAX_REASON = 1000
_FIRST_LOOK_SECONDS = 0.005
_LAST_LOOK_SECONDS = 2.0

_load_user = lru_cache(maxsize=100)(load_user)  # few start most runs: every firing of an executor has the same caller


class Row(Protocol):
    """A row of the outbox."""

    @property
    def seq(self) -> int: ...
    @property
    def run_id(self) -> str: ...
    @property
    def record(self) -> str | None: ...
    @property
    def workflow_name(self) -> str: ...
    @property
    def arg(self) -> str: ...
    @property
    def caller(self) -> str: ...
    @property
    def invoker(self) -> str | None: ...
    @property
    def trace(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of rows since it was last asked for.

    Attributes:
        started: The numbers of the rows whose runs are started.
        refused: The numbers of those that can't be, and why.
        outage: Why the platform could not be asked, if it could not.
    """

    started: list[int]
    refused: dict[int, str]
    outage: Exception | None


class Lanes:
    """Starts rows on a platform. A record has a lane, in which a row waits until what started before it has acted.

    Args:
        platform: Where.
        settled: Called when something has become of a row.

    Attributes:
        held: The numbers of the rows that were taken and not forgotten.
    """

    def __init__(self, platform: Platform, settled: Callable[[], None]) -> None:
        self.held: set[int] = set()
        self._platform = platform
        self._settled = settled
        self._waiting: dict[str, deque[Row]] = {}
        self._last: OrderedDict[str, str] = OrderedDict()
        self._tries: Counter[int] = Counter()
        self._started: list[int] = []
        self._refused: dict[int, str] = {}
        self._outage: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def records(self) -> Collection[str]:
        """The records whose rows wait, or are being started: a later row of theirs is not to be taken yet."""
        return self._waiting.keys()

    def take(self, rows: Iterable[Row]) -> None:
        """Start rows, which come in the order of their numbers; those there is no room for are left."""
        for row in rows:
            waiting = None if row.record is None else self._waiting.get(row.record)
            if waiting is not None:
                if len(waiting) < _MAX_WAITING_IN_LANE and len(self.held) < _MAX_HELD_FOR_MORE_OF_A_LANE:
                    waiting.append(row)
                    self.held.add(row.seq)
            elif len(self.held) < MAX_HELD:
                self.held.add(row.seq)
                if row.record is None:
                    self._spawn(self._start_alone(row))
                else:
                    self._waiting[row.record] = deque([row])
                    self._spawn(self._start_in_turn(row.record, self._waiting[row.record]))

    def settle(self) -> Settled:
        """What became of rows."""
        settled = Settled(self._started, self._refused, self._outage)
        self._started, self._refused, self._outage = [], {}, None
        return settled

    def forget(self, numbers: Iterable[int]) -> None:
        """These rows are no longer in the outbox."""
        self.held.difference_update(numbers)

    async def stop(self) -> None:
        """Give up what was not started yet; it is still in the outbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waiting.clear()
        self.held.clear()
        self.settle()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_alone(self, row: Row) -> None:
        if not await self._start(row):
            self.held.discard(row.seq)
        self._settled()

    async def _start_in_turn(self, record: str, waiting: deque[Row]) -> None:
        while waiting:
            if not await self._start(waiting[0]):
                self.held.difference_update(row.seq for row in waiting)
                break
            waiting.popleft()
            self._settled()
        del self._waiting[record]
        self._settled()

    async def _start(self, row: Row) -> bool:
        """Start a row's run; says whether the row is settled."""
        try:
            last = None if row.record is None else self._last.get(row.record)
            if last is not None and last != row.run_id:
                await self._wait_for(last)
            with within_trace(load_trace(row.trace)), starting(row.workflow_name) as start:
                await self._platform.start_workflow(
                    row.workflow_name,
                    row.arg,
                    caller=_load_user(row.caller),
                    invoker=load_invoker(row.invoker),
                    run_id=row.run_id,
                )
                start.began(row.run_id)
        except BaseException as error:  # of a platform, or of a row that was not written by us
            return self._failed(row, contained(error))
        self._started.append(row.seq)
        self._tries.pop(row.seq, None)
        if row.record is not None:
            self._last[row.record] = row.run_id
            self._last.move_to_end(row.record)
            if len(self._last) > _MAX_REMEMBERED:
                self._last.popitem(last=False)
        return True

    def _failed(self, row: Row, error: Exception) -> bool:
        is_outage = isinstance(error, OutcomeUnknownError | PlatformCredentialsError) or (
            isinstance(error, GqlpluginError) and error.retryable
        )
        if not is_outage and self._is_refused(row, error):
            code, message = (
                (error.code, error.message) if isinstance(error, GqlpluginError) else ("INTERNAL", type(error).__name__)
            )
            _logger.error(
                "Run %s of %s can't be started, and stays in the outbox under seq %d with its error: %s",
                row.run_id,
                row.workflow_name,
                row.seq,
                message,
                exc_info=None if isinstance(error, GqlpluginError) else error,
            )
            self._refused[row.seq] = _storable(f"{code}: {message}")
            self._tries.pop(row.seq, None)
            return True
        self._outage = error
        return False

    def _is_refused(self, row: Row, error: Exception) -> bool:
        if isinstance(error, GqlpluginError) and not isinstance(error, FailedPreconditionError):
            return True
        self._tries[row.seq] += 1  # it may be the row, or something that passes
        return self._tries[row.seq] >= _MAX_TRIES

    async def _wait_for(self, run_id: str) -> None:
        """Wait until a run has acted, so that what runs do is in order too."""
        seconds = _FIRST_LOOK_SECONDS
        while not await self._has_acted(run_id):
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, _LAST_LOOK_SECONDS)

    async def _has_acted(self, run_id: str) -> bool:
        try:
            run = await self._platform.get_execution(run_id)
        except NotFoundError:
            return True  # it ended long ago
        except GqlpluginError:
            return False  # asked again
        return run.status.is_final or run.status is ExecutionStatus.PENDING_RETRY or run.attempt > 0


def _storable(text: str) -> str:
    """A text as any database can keep it: not all take every character that JSON can have."""
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_REASON])
