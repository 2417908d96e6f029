"""One process's part in executing a file: it waits for the lock, then runs what is due."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.lock import FileLock
from gqlplugin.platform.base import Definitions
from gqlplugin.platform.embedded.file import WRITE_ERRORS
from gqlplugin.platform.embedded.journal import Journal
from gqlplugin.platform.embedded.retention import ExpiryClock, find_newest, keep_tidy
from gqlplugin.platform.embedded.runner import Runner
from gqlplugin.platform.embedded.scheduler import Scheduler
from gqlplugin.runs import WorkflowExecution
from gqlplugin.tasks import keep_running

_logger = logging.getLogger("gqlplugin.embedded")

_REPORT_SECONDS = 1.0
_AGAIN_SECONDS = 1.0


class Worker:
    """Runs the jobs of some definitions, while no other process does.

    Args:
        definitions: What can be run.
        journal: Where the runs are.
        runner: Runs them once the lock is held.
        retention: How long finished runs are kept.

    Attributes:
        scheduler: Fires the schedules once the lock is held.
    """

    def __init__(self, definitions: Definitions, journal: Journal, runner: Runner, *, retention: timedelta) -> None:
        self.definitions = definitions
        self._journal = journal
        self._runner = runner
        self._retention = retention
        self.scheduler = Scheduler(definitions.schedules, journal.writer, self.offer)
        self._lock = None if journal.in_memory else FileLock(f"{journal.path}.lock")
        self._running = False
        self._beginning = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._cancels = asyncio.Event()
        self._lock_failed = False
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, or stand by until the process that executes the file ends."""
        self._journal.writer.on_lost = self._lost
        if self._acquire():
            await self._begin()
        else:
            _logger.info("Another process executes %s; this one stands by", self._journal.path)
            self._journal.on_poll = self._stand_by

    def offer(self, run: WorkflowExecution) -> None:
        """A run was started in this process."""
        if self._running:
            self._runner.offer(run)

    def wake(self) -> None:
        """Something may have come due."""
        if self._running:
            self._runner.wake()
            self._woken.set()

    def is_active(self, run_id: str) -> bool:
        """Whether a run executes in this process."""
        return self._runner.is_active(run_id)

    def heed_cancels(self) -> None:
        """Some runs are to be canceled."""
        self._cancels.set()

    async def stop(self, grace: timedelta) -> None:
        """Give running jobs a time, then let another process take over."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(grace))
        await self._stopping

    def _lost(self) -> None:
        """The file is gone, or locked by nobody: another process may execute it, or another one in its place."""
        self._stopping = self._stopping or asyncio.get_running_loop().create_task(self._stop(timedelta(0)))

    async def _stop(self, grace: timedelta) -> None:
        self._journal.on_poll = self._journal.on_foreign_commit = self._journal.writer.on_writable = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._running:
            await self._runner.drain(grace.total_seconds())
        if self._lock is not None:
            self._journal.unwatch(self._lock.path)
            threads = self._runner.threads_at_work()
            if threads:
                _logger.warning(
                    "%d plain jobs work on in their threads; until they or this process end, nobody else executes %s",
                    len(threads),
                    self._journal.path,
                )
                threading.Thread(target=_release_after, args=(threads, self._lock), daemon=True).start()
            else:
                self._lock.release()

    def _acquire(self) -> bool:
        if self._lock is None:
            return True
        try:
            is_ours = self._lock.acquire()
            if is_ours:
                self._journal.watch(self._lock.path)
            return is_ours
        except OSError as error:
            raise FailedPreconditionError(
                f"The lock file beside {self._journal.path} can't be opened: {error.strerror}."
            ) from error

    async def _begin(self) -> None:
        clock = ExpiryClock(await self._journal.writer.call(find_newest))  # before this process starts any
        await self.scheduler.start()
        await self._runner.start()
        self._running = True
        self._journal.on_foreign_commit = self._journal.writer.on_writable = self._notice
        self.heed_cancels()  # those that came while it began
        self._keep_running("Canceling", self._heed_cancels)
        self._keep_running("Looking for unknown workflows", self._report_unknown)
        self._keep_running(
            "Deleting what has expired", partial(keep_tidy, self._journal.writer, self._retention, clock)
        )
        if self.definitions.schedules:
            self._keep_running("Firing schedules", self.scheduler.run)

    def _notice(self) -> None:
        self.wake()
        self.heed_cancels()

    async def _heed_cancels(self) -> None:
        while True:
            await self._cancels.wait()
            self._cancels.clear()
            try:
                await self._runner.heed_cancels()
            except BaseException:
                self._cancels.set()  # they are still to be canceled
                raise

    async def _report_unknown(self) -> None:
        """Look for runs of unknown workflows whenever some may have come, at most once a second."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            with suppress(*WRITE_ERRORS):  # logged by the writer
                await self._runner.report_unknown()
            await asyncio.sleep(_REPORT_SECONDS)

    def _stand_by(self) -> None:
        if self._beginning:
            return
        try:
            is_ours = self._acquire()
        except FailedPreconditionError as error:
            if not self._lock_failed:
                _logger.error("This process can't take over for now: %s", error)
            self._lock_failed = True
            return
        self._lock_failed = False
        if is_ours:
            self._beginning = True
            self._spawn(self._take_over())

    async def _take_over(self) -> None:
        try:
            await self._begin()
        except Exception as error:
            known = isinstance(error, WRITE_ERRORS)  # logged by the writer
            _logger.error(
                "This process could not begin to execute %s; it tries again", self._journal.path, exc_info=not known
            )
            await asyncio.sleep(_AGAIN_SECONDS)
            self._beginning = False
        else:
            _logger.info("This process now executes %s", self._journal.path)
            self._journal.on_poll = None

    def _keep_running(self, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._spawn(keep_running(work, what, _logger))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _release_after(threads: Iterable[threading.Thread], lock: FileLock) -> None:
    for thread in threads:
        thread.join()
    lock.release()
