"""Firing what is due by a schedule: each time becomes a run in the transaction that moves the schedule on."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from gqlplugin.checks import executor_of
from gqlplugin.identity import executor_user
from gqlplugin.platform.base import uuid7
from gqlplugin.platform.embedded import writer as journal
from gqlplugin.platform.embedded.file import WRITE_ERRORS
from gqlplugin.platform.embedded.rows import AT_ONCE, Row, from_microseconds, run_row, to_microseconds
from gqlplugin.platform.embedded.writer import Writer
from gqlplugin.runs import ExecutionStatus, WorkflowExecution
from gqlplugin.schedule import Schedule, scheduled_arg

_logger = logging.getLogger("gqlplugin.embedded")

_AGAIN = timedelta(seconds=1)
_SET_BACK = timedelta(days=1)

NextTimes = Mapping[str, datetime | None]
"""When schedules fire next, by the names of their firings; None is never."""


class Scheduler:
    """Fires the schedules of one file, in the one process that executes it.

    Args:
        schedules: By the names of their firings.
        writer: Where to.
        started: Told of each new run once it is durable.

    Attributes:
        now: What the time is.
        longest_sleep: After how long it looks at the clock again, which may have been set.
    """

    def __init__(
        self,
        schedules: Mapping[str, Schedule],
        writer: Writer,
        started: Callable[[WorkflowExecution], None],
    ) -> None:
        self._schedules = schedules
        self._writer = writer
        self._started = started
        self._next: dict[str, datetime | None] | None = None
        self.now: Callable[[], datetime] = partial(datetime.now, UTC)
        self.longest_sleep = timedelta(seconds=15)

    async def start(self) -> None:
        """Make the journal follow the definitions, and learn what was fired before.

        Raises:
            PlatformUnavailableError: The journal can't be written now.
        """
        self._next = dict(await self._writer.call(partial(follow, schedules=self._schedules, now=self.now())))

    async def run(self) -> None:
        """Fire what is due, until cancelled."""
        while True:
            wait = self.longest_sleep
            try:
                next_at = await self.fire_due()
            except WRITE_ERRORS:  # logged by the writer
                wait = min(_AGAIN, wait)
            except Exception:
                _logger.exception("Schedules could not be fired; the next try is in %s seconds", _AGAIN.seconds)
                wait = min(_AGAIN, wait)
            else:
                if next_at is not None:
                    wait = min(max(next_at - self.now(), timedelta()), wait)
            await asyncio.sleep(wait.total_seconds())

    async def fire_due(self) -> datetime | None:
        """Fire what is due now; when something is due next.

        A schedule that can't be fired does not keep the others from it, and is due again in a second.

        Raises:
            PlatformUnavailableError: The journal can't be written now.
        """
        now = self.now()
        if self._next is None or self._clock_was_ahead(now):
            await self.start()
        due = {name: next_at for name, next_at in (self._next or {}).items() if next_at is not None and next_at <= now}
        outcomes = await asyncio.gather(
            *(self._fire(name, next_at, now) for name, next_at in due.items()), return_exceptions=True
        )
        failed = False
        for name, outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, WRITE_ERRORS) or not isinstance(outcome, Exception | None):
                raise outcome
            if outcome is not None:
                failed = True
                _logger.error("The schedule of %r could not be fired", name, exc_info=outcome)
        times = [at for at in (self._next or {}).values() if at is not None and at > now]
        return min([*times, *([now + _AGAIN] if failed or self._next is None else [])], default=None)

    def _clock_was_ahead(self, now: datetime) -> bool:
        """Whether the clock was set back, so that a schedule would wait for the time that it was wrong by."""
        return any(
            next_at is not None and next_at > now + _SET_BACK and not _holds(self._schedules[name], next_at, now)
            for name, next_at in (self._next or {}).items()
        )

    async def _fire(self, name: str, next_at: datetime, now: datetime) -> None:
        schedule = self._schedules[name]
        due = await asyncio.to_thread(schedule.due, next_at, now)  # the missed times of years may take a while
        runs = [_firing(name, moment) for moment in due.times]
        rows = [run_row(run, due_at=AT_ONCE) for run in runs]

        def then(is_fired: bool) -> None:
            if is_fired:
                for run in runs:
                    self._started(run)

        if not await self._writer.call(
            partial(fire, name=name, next_at=next_at, rows=rows, following=due.next_at), then
        ):
            self._next = None  # what is known is out of date: another process has been here
            return
        if self._next is not None:
            self._next[name] = due.next_at
        if due.passed_over:
            _logger.warning(
                "Times of %r were missed from %s on; %d of them fire now, as missed=%r has it",
                name,
                next_at,
                len(runs),
                schedule.missed,
            )


def follow(connection: sqlite3.Connection, *, schedules: Mapping[str, Schedule], now: datetime) -> NextTimes:
    """Make a journal follow the definitions, and tell when they fire next.

    New and changed schedules fire from now on; those that are as they were, from where they were left.
    """
    rows = connection.execute("SELECT workflow_name, spec, next_at FROM schedule").fetchall()
    left = {(name, spec): None if next_at is None else from_microseconds(next_at) for name, spec, next_at in rows}
    times: dict[str, datetime | None] = {}
    for name, schedule in schedules.items():
        next_at = left.get((name, _spec(schedule)))
        times[name] = next_at if next_at is not None and _holds(schedule, next_at, now) else schedule.after(now)
    connection.execute("DELETE FROM schedule")
    connection.executemany(
        "INSERT INTO schedule (workflow_name, spec, next_at) VALUES (?, ?, ?)",
        [(name, _spec(schedules[name]), _optional(next_at)) for name, next_at in times.items()],
    )
    return times


def fire(
    connection: sqlite3.Connection, *, name: str, next_at: datetime, rows: Sequence[Row], following: datetime | None
) -> bool:
    """Move a schedule on and add the runs of the times that it leaves behind; False when it has been moved already."""
    moved = connection.execute(
        "UPDATE schedule SET next_at = ? WHERE workflow_name = ? AND next_at = ?",
        (_optional(following), name, to_microseconds(next_at)),
    )
    if moved.rowcount == 0:
        return False
    for row in rows:
        journal.insert_run(connection, row)
    return True


def _holds(schedule: Schedule, next_at: datetime, now: datetime) -> bool:
    """Whether a time is still the next to fire.

    One to come may not be one any more, when a zone's rules have changed. And when it is more than a day later than
    the clock has it, the clock was wrong: a schedule must not wait for years because of that.
    """
    if next_at <= now:
        return True
    first = schedule.after(now + _SET_BACK)
    return schedule.is_time(next_at) and (first is None or next_at <= first)


def _spec(schedule: Schedule) -> str:
    return json.dumps([schedule.cron, schedule.timezone])


def _optional(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _firing(name: str, moment: datetime) -> WorkflowExecution:
    return WorkflowExecution(
        id=uuid7(),
        workflow_name=name,
        status=ExecutionStatus.PENDING,
        input=scheduled_arg(moment),
        created_at=datetime.now(UTC),
        caller=executor_user(executor_of(name) or name),
    )
