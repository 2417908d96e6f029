"""Schedules on a platform, with the operations that they start."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gqlplugin.app import App, define_app
from gqlplugin.executor import ScheduleArgs, create_executor, function_operation, schedule_trigger
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.scheduler import Scheduler
from gqlplugin.platform.embedded.worker import Worker
from gqlplugin.testing import MemoryPlatform
from tests.contract.support import until
from tests.platform.embedded.support import query
from tests.platform.embedded.test_scheduler import NOON, fired

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.sqlite"


class ClockPlatform(EmbeddedPlatform):
    """A platform whose schedules see a clock that runs 600 times as fast, and look at it all the time."""

    @asynccontextmanager
    async def _working(self, worker: Worker) -> AsyncIterator[None]:
        hurry(worker.scheduler)
        async with super()._working(worker):
            yield


_EPOCH = time.time()


def hurry(scheduler: Scheduler) -> None:
    """Make each minute of a scheduler last a tenth of a second."""
    scheduler.now = lambda: NOON + timedelta(seconds=(time.time() - _EPOCH) * 600)
    scheduler.longest_sleep = timedelta(milliseconds=10)


def app_of(ran: list[datetime], cron: str = "* * * * *", *, disabled: bool = False) -> App:
    """An app with a schedule that fires all the time."""

    async def note(args: ScheduleArgs) -> None:
        ran.append(args.scheduled_time)

    executor = create_executor(
        "the-schedule",
        trigger=schedule_trigger(cron, missed="all"),
        operation=function_operation(note),
        disabled=disabled,
    )
    return define_app("scheduled", executors=[executor])


def is_every_minute(times: list[datetime]) -> bool:
    """Whether each minute is there once, from the first to the last."""
    return times == [times[0] + timedelta(minutes=index) for index in range(len(times))]


async def test_a_platform_fires_its_schedules(path: Path) -> None:
    """While a platform executes an app, each time of its schedules runs the operation once."""
    ran: list[datetime] = []
    app = app_of(ran)
    async with ClockPlatform(path) as platform, platform.execute(app):

        async def enough() -> bool:
            return len(ran) >= 10

        await until(enough)
    assert is_every_minute(sorted(ran))
    assert len(fired(path)) >= len(ran)


async def test_a_platform_in_memory_fires_too() -> None:
    """What tests use keeps schedules as well: a firing at a time is there with the next one to come."""
    async with MemoryPlatform() as platform, platform.execute(app_of([], "@yearly")):
        assert platform._worker is not None
        scheduler = platform._worker.scheduler
        next_at = await scheduler.fire_due()
        assert next_at is not None
        scheduler.now = lambda: next_at
        await scheduler.fire_due()
        journal, _ = platform._entering.opened()
        rows = await journal.reader.read(lambda connection: connection.execute("SELECT input FROM run").fetchall())
    assert rows == [(f'{{"scheduled_time":"{next_at:%Y}-01-01T00:00:00Z"}}',)]


async def test_a_disabled_executor_does_not_fire(path: Path) -> None:
    """A schedule of a disabled executor is none."""
    ran: list[datetime] = []
    async with ClockPlatform(path) as platform, platform.execute(app_of(ran)):

        async def enough() -> bool:
            return len(ran) >= 3

        await until(enough)
    fired_before = fired(path)
    async with ClockPlatform(path) as platform, platform.execute(app_of(ran, disabled=True)):
        assert query(path, "SELECT count(*) FROM schedule") == [(0,)]
    assert fired(path) == fired_before


async def test_only_the_process_that_executes_fires_and_the_other_takes_over(path: Path) -> None:
    """Of two platforms on a file one fires; when it ends the other goes on, and no time is lost or doubled."""
    ran_by_first: list[datetime] = []
    ran_by_second: list[datetime] = []
    first, second = ClockPlatform(path), ClockPlatform(path)
    entered, leaving = asyncio.Event(), asyncio.Event()

    async def lead() -> None:
        async with first, first.execute(app_of(ran_by_first)):
            entered.set()
            await leaving.wait()

    leader = asyncio.create_task(lead())
    await entered.wait()
    async with second, second.execute(app_of(ran_by_second)):

        async def first_is_going() -> bool:
            return len(ran_by_first) >= 5

        await until(first_is_going)
        assert ran_by_second == []
        leaving.set()
        await leader

        async def second_is_going() -> bool:
            return len(ran_by_second) >= 5

        await until(second_is_going)
    times = [datetime.fromisoformat(f"{one}Z") for one in fired(path)]
    assert is_every_minute(times)
    assert not set(ran_by_first) & set(ran_by_second)
    assert set(ran_by_first) | set(ran_by_second) <= set(times)
