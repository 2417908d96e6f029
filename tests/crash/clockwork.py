"""The process that is killed while it fires schedules: its clock runs fast, so that something is due all the time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from gqlplugin.app import App, define_app
from gqlplugin.executor import ScheduleArgs, create_executor, function_operation, schedule_trigger
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.worker import Worker
from tests.crash.processes import MAX_RECOVERIES, context
from tests.rounds import rounds

JOURNAL = "journal.sqlite"
SPEED = 1000
BEGINS_AT = rounds(datetime(2026, 3, 28, 23, tzinfo=UTC), few=datetime(2026, 3, 29, 0, 30, tzinfo=UTC))
"""Before the clocks of Europe are changed, by hours that are seconds to the process."""
NEVER = datetime.max.replace(tzinfo=UTC)


class Clockwork:
    """A process that executes the journal of a directory, seen from the harness.

    Args:
        directory: Where the journal is.
        epoch: When, in seconds since 1970, the clock of all processes stood at `BEGINS_AT`.
        statements: After how many statements of SQL the process kills itself; None is never.
        ends_at: Where its clock stops.
    """

    def __init__(self, directory: Path, epoch: float, statements: int | None = None, ends_at: datetime = NEVER) -> None:
        self.connection, theirs = context.Pipe()
        self.process: ForkServerProcess = context.Process(
            target=_main, args=(str(directory), epoch, statements, ends_at, theirs)
        )
        self.process.start()
        theirs.close()
        self._is_open: bool | None = None

    def wait_until_open(self) -> bool:
        """Wait until it has opened the journal; False when it has died."""
        if self._is_open is None:
            assert self.connection.poll(60)
            try:
                self._is_open = self.connection.recv_bytes() == b"open"
            except (EOFError, ConnectionResetError):
                self._is_open = False
        return self._is_open

    @property
    def is_alive(self) -> bool:
        """Whether it has neither killed itself nor been killed."""
        return self.process.is_alive()

    def wait_until_dead(self, seconds: float) -> None:
        """Give it a time to kill itself."""
        self.process.join(seconds)

    def kill(self) -> int | None:
        """Kill the process; how it ended."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode

    def stop(self) -> int | None:
        """Let the process end by itself; how it ended."""
        self.connection.send_bytes(b"end")
        self.process.join(60)
        return self.process.exitcode

    def close(self) -> None:
        """Make sure that nothing is left of it."""
        self.kill()
        self.process.close()
        self.connection.close()


def define_clockwork() -> App:
    """An app with schedules that fire all the time, and one that does around the change of the clock."""

    async def note(args: ScheduleArgs) -> None:
        await asyncio.sleep(0)

    crons = {"every-minute": "* * * * *", "every-seven": "*/7 * * * *", "at-night": "*/5 1-3 * * *"}
    executors = [
        create_executor(
            name,
            trigger=schedule_trigger(cron, timezone="Europe/Berlin", missed="all"),
            operation=function_operation(note),
        )
        for name, cron in crons.items()
    ]
    return define_app("clockwork", executors=executors)


def time_since(epoch: float) -> datetime:
    """The time by the fast clock."""
    return BEGINS_AT + timedelta(seconds=(time.time() - epoch) * SPEED)


class _FastPlatform(EmbeddedPlatform):
    """Its schedules see a clock that runs fast."""

    epoch: float
    ends_at: datetime

    @asynccontextmanager
    async def _working(self, worker: Worker) -> AsyncIterator[None]:
        worker.scheduler.now = lambda: min(time_since(self.epoch), self.ends_at)
        worker.scheduler.longest_sleep = timedelta(milliseconds=5)
        async with super()._working(worker):
            yield


def _main(directory: str, epoch: float, statements: int | None, ends_at: datetime, connection: Connection) -> None:
    platform = _FastPlatform(Path(directory) / JOURNAL, max_recoveries=MAX_RECOVERIES)
    platform.epoch, platform.ends_at = epoch, ends_at
    asyncio.run(_serve(platform, statements, connection))


async def _serve(platform: _FastPlatform, statements: int | None, connection: Connection) -> None:
    ended = asyncio.Event()
    async with platform:
        if statements is not None:
            journal, _ = platform._entering.opened()
            die = _DiesAfter(statements)
            await journal.writer.call(lambda writer: writer.set_trace_callback(die))
        async with platform.execute(define_clockwork()):
            loop = asyncio.get_running_loop()
            loop.add_reader(connection.fileno(), ended.set)
            connection.send_bytes(b"open")
            await ended.wait()
            loop.remove_reader(connection.fileno())


class _DiesAfter:
    """Is told of each statement before it is executed, and kills the process at one of them."""

    def __init__(self, statements: int) -> None:
        self._left = statements

    def __call__(self, statement: str) -> None:
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
