"""Watching runs by asking again and again: seldom while nothing happens, and once for all who watch a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from copy import copy
from datetime import timedelta

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.runs import WorkflowExecution

TOLERATED_FAILURES = 5
_GROWTH = 1.5

Seen = tuple[WorkflowExecution, object]
"""A run, and how far its jobs are: when one of them has changed, the run comes again."""

LookAtRun = Callable[[str], Coroutine[None, None, Seen]]


def closing() -> PlatformUnavailableError:
    """The error for what is asked while the platform is being closed."""
    return PlatformUnavailableError("The platform is being closed.")


class Watches:
    """Those who watch runs.

    Args:
        look_at_run: Reads a run.
        interval: From one look to the next, while a run changes.
        max_interval: The same, once it has not changed for a while.
    """

    def __init__(self, look_at_run: LookAtRun, interval: timedelta, max_interval: timedelta) -> None:
        self._look_at_run = look_at_run
        self._interval = interval.total_seconds()
        self._max_interval = max_interval.total_seconds()
        self._polls: dict[str, _Poll] = {}
        self._closed = asyncio.Event()

    async def watch(self, run_id: str) -> AsyncGenerator[WorkflowExecution]:
        """The run, again after every change, until it has ended; see `Platform.watch`."""
        seen = await self._unless_closed(self._look_at_run(run_id))
        run, _ = seen
        yield run
        if run.status.is_final:
            return
        poll = self._polls.get(run_id) or _Poll(run_id, self._look_at_run, self._interval, self._max_interval)
        self._polls[run_id] = poll
        begun = poll.join()
        try:
            while not run.status.is_final:
                newest = await self._unless_closed(poll.next(begun))
                begun = poll.answered
                if newest != seen:
                    seen = newest
                    run, _ = seen
                    yield run
        finally:
            if not poll.leave() and self._polls.get(run_id) is poll:
                del self._polls[run_id]

    async def close(self) -> None:
        """Tell all who watch that there is nothing more to come."""
        self._closed.set()
        for poll in list(self._polls.values()):
            await poll.stop()

    async def _unless_closed(self, call: Coroutine[None, None, Seen]) -> Seen:
        answer, closed = asyncio.ensure_future(call), asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait([answer, closed], return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise closing()
        finally:
            answer.cancel()
            closed.cancel()


class _Poll:
    """Looks at one run for all who watch it.

    Attributes:
        answered: The number of the last look; a watcher takes only what was looked at after it came.
    """

    def __init__(self, run_id: str, look_at_run: LookAtRun, interval: float, max_interval: float) -> None:
        self.answered = 0
        self._run_id = run_id
        self._look_at_run = look_at_run
        self._interval = interval
        self._max_interval = max_interval
        self._begun = 0
        self._wanted = 0
        self._watchers = 0
        self._seen: Seen | Exception | None = None
        self._looked = asyncio.Condition()
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self) -> int:
        """One more watches; the number of the last look that is too old for it."""
        self._watchers += 1
        self._wanted = self._begun + 1
        self._hurry.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_on())
        return self._begun

    def leave(self) -> bool:
        """One less watches; whether anybody is left."""
        self._watchers -= 1
        if self._watchers == 0 and self._task is not None:
            self._task.cancel()
        return self._watchers > 0

    async def next(self, after: int) -> Seen:
        """The run as it was at a look after the one with this number."""
        async with self._looked:
            await self._looked.wait_for(lambda: self.answered > after)
        if isinstance(self._seen, tuple):
            return self._seen
        raise copy(self._seen or closing())  # each watcher's own, as raising it adds its traceback

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look_on(self) -> None:
        interval, failures = self._interval, 0
        while True:
            interval = await self._rest(interval)
            self._begun += 1
            seen = await self._look()
            if isinstance(seen, PlatformUnavailableError) and failures < TOLERATED_FAILURES:
                failures += 1
                continue
            failures = 0
            interval = self._interval if seen != self._seen else min(interval * _GROWTH, self._max_interval)
            async with self._looked:
                self._seen, self.answered = seen, self._begun
                self._looked.notify_all()
            if self.answered >= self._wanted and (isinstance(seen, Exception) or seen[0].status.is_final):
                return

    async def _look(self) -> Seen | Exception:
        try:
            return await self._look_at_run(self._run_id)
        except Exception as error:
            return error

    async def _rest(self, interval: float) -> float:
        """Wait for the interval, or the shortest one when another watcher comes; the one that it was."""
        loop = asyncio.get_running_loop()
        due = loop.time() + interval
        while (left := due - loop.time()) > 0:
            self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._hurry.wait()
                interval = self._interval
                due = min(due, loop.time() + interval)
        return interval
