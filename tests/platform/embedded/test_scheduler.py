"""Schedules on a journal: each time becomes one run, whatever happens to processes and clocks in between."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gqlplugin.checks import Source
from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.platform.embedded.journal import Journal
from gqlplugin.platform.embedded.scheduler import Scheduler
from gqlplugin.runs import WorkflowExecution
from gqlplugin.schedule import MOST_MISSED, DueTimes, MissedPolicy, Schedule
from tests.platform.embedded.support import logged, query
from tests.platform.embedded.test_full_disk import full_disk

pytestmark = pytest.mark.anyio

NAME = "executor/the-schedule"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def every(cron: str, timezone: str = "UTC", missed: MissedPolicy = "last") -> Schedule:
    """A schedule."""
    return Schedule.parse(cron, timezone=timezone, missed=missed, source=Source("app.py", 1))


class Life:
    """One life of a process: a scheduler on a journal file, with a clock that the test sets."""

    def __init__(self, journal: Journal, schedules: Mapping[str, Schedule], now: datetime) -> None:
        self.now = now
        self.started: list[WorkflowExecution] = []
        self.scheduler = Scheduler(schedules, journal.writer, self.started.append)
        self.scheduler.now = lambda: self.now

    async def fire_until(self, end: datetime, step: timedelta) -> None:
        """Let time pass up to a moment."""
        while self.now < end:
            self.now = min(self.now + step, end)
            await self.scheduler.fire_due()


@asynccontextmanager
async def life(path: Path, now: datetime, schedules: Mapping[str, Schedule]) -> AsyncIterator[Life]:
    """A process that opens a file, follows its schedules, and ends."""
    journal = await Journal.open(str(path))
    try:
        one = Life(journal, schedules, now)
        await one.scheduler.fire_due()
        yield one
    finally:
        await journal.close()


def fired(path: Path, name: str = NAME) -> list[str]:
    """The times that have runs, in the order of their runs."""
    rows = query(path, "SELECT input FROM run WHERE workflow_name = ? ORDER BY seq", name)
    return [json.loads(row[0])["scheduled_time"].removesuffix(":00Z") for row in rows]


def on_wall(path: Path, timezone: str, name: str = NAME) -> list[str]:
    """The same, as a clock on the wall shows them."""
    zone = ZoneInfo(timezone)
    return [f"{datetime.fromisoformat(f'{one}Z').astimezone(zone):%d %H:%M%z}" for one in fired(path, name)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.sqlite"


async def test_a_time_becomes_a_run(path: Path) -> None:
    """When its time comes a schedule starts a run of its executor, with the time as the argument, and moves on."""
    async with life(path, NOON, {NAME: every("30 * * * *")}) as process:
        assert await process.scheduler.fire_due() == NOON + timedelta(minutes=30)
        assert fired(path) == []
        process.now = NOON + timedelta(minutes=30)
        assert await process.scheduler.fire_due() == NOON + timedelta(minutes=90)
        assert await process.scheduler.fire_due() == NOON + timedelta(minutes=90)
        [run] = process.started
    assert query(path, "SELECT id, workflow_name, status, input, caller_id FROM run") == [
        (run.id, NAME, "PENDING", '{"scheduled_time":"2026-11-22T12:30:00Z"}', "executor/the-schedule")
    ]
    assert run.caller.type == "machine_user"
    assert not run.caller.is_anonymous


async def test_a_new_schedule_fires_from_its_first_start_on(path: Path) -> None:
    """The times before a schedule was known are not missed, also not the one that is now."""
    async with life(path, NOON, {NAME: every("* * * * *", missed="all")}) as process:
        process.now += timedelta(minutes=1)
        await process.scheduler.fire_due()
    assert fired(path) == ["2026-11-22T12:01"]


@pytest.mark.parametrize(
    ("timezone", "cron", "start", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T00:00",
         ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T00:00",
         ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]),
        ("America/New_York", "*/30 2 * * *", "2026-03-07T00:00",
         ["07 02:00-0500", "07 02:30-0500", "08 03:00-0400", "09 02:00-0400", "09 02:30-0400"]),
        ("America/New_York", "*/30 1 * * *", "2026-10-31T00:00",
         ["31 01:00-0400", "31 01:30-0400", "01 01:00-0400", "01 01:30-0400", "02 01:00-0500", "02 01:30-0500"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00",
         ["03 02:15+1030", "04 02:30+1100", "05 02:15+1100"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00",
         ["04 01:45+1100", "05 01:45+1100", "06 01:45+1030"]),
        ("America/Santiago", "@daily", "2026-09-04T22:00",
         ["05 00:00-0400", "06 01:00-0300", "07 00:00-0300"]),
        ("America/Santiago", "30 23 * * *", "2026-04-03T02:00",
         ["03 23:30-0300", "04 23:30-0300", "05 23:30-0400"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("restarts", [False, True])
async def test_changes_of_daylight_saving_time(
    path: Path, *, timezone: str, cron: str, start: str, expected: list[str], restarts: bool
) -> None:
    """Across a change of the clock each local time fires once, also when the process is restarted all the time."""
    now = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)
    end = now + timedelta(days=3)
    schedules = {NAME: every(cron, timezone, "all")}
    while now < end:
        async with life(path, now, schedules) as process:
            await process.fire_until(min(now + timedelta(hours=5 if restarts else 72), end), timedelta(minutes=10))
            now = process.now + timedelta(minutes=20 if restarts else 0)
    assert on_wall(path, timezone) == expected


async def test_an_hourly_schedule_follows_the_wall_clock(path: Path) -> None:
    """With `*` hours both of the repeated hours fire, and the skipped one does not."""
    for start in ("2026-03-29T00:30", "2026-10-25T00:30"):
        now = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
        async with life(path, now, {NAME: every("0 * * * *", "Europe/Berlin", "none")}) as process:
            await process.fire_until(now + timedelta(hours=3), timedelta(minutes=1))
    assert on_wall(path, "Europe/Berlin") == [
        "29 01:00+0100", "29 03:00+0200", "29 04:00+0200", "25 01:00+0200", "25 02:00+0200", "25 02:00+0100",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("missed", "expected"), [("last", ["15:00"]), ("all", ["13:00", "14:00", "15:00"]), ("none", [])]
)
async def test_times_missed_while_no_process_was_there(path: Path, missed: MissedPolicy, expected: list[str]) -> None:
    """After downtime the last missed time fires, or all of them, or none, and the times after it as always."""
    schedules = {NAME: every("@hourly", missed=missed)}
    async with life(path, NOON, schedules):
        pass
    with logged(logging.WARNING) as lines:
        async with life(path, NOON + timedelta(hours=3, minutes=30), schedules) as process:
            assert [one[11:] for one in fired(path)] == expected
            await process.fire_until(NOON + timedelta(hours=5), timedelta(minutes=1))
    assert [one[11:] for one in fired(path)] == [*expected, "16:00", "17:00"]
    assert [NAME in line and f"missed='{missed}'" in line for line in lines] == [True] * (missed != "all")


async def test_years_of_missed_times(path: Path) -> None:
    """However long nothing ran, a start fires a bounded number of runs, the newest, in order."""
    schedules = {NAME: every("* * * * *", "Europe/Berlin", "all")}
    async with life(path, NOON, schedules):
        pass
    async with life(path, NOON + timedelta(days=3653), schedules):
        pass
    times = fired(path)
    assert len(times) == MOST_MISSED
    assert times == sorted(times)
    assert times[-1] == f"{NOON + timedelta(days=3653):%Y-%m-%dT%H:%M}"


async def test_a_changed_schedule_fires_from_now_on(path: Path) -> None:
    """Another expression or timezone begins anew: its times before the start are not missed."""
    async with life(path, NOON, {NAME: every("@hourly", missed="all")}):
        pass
    later = NOON + timedelta(hours=3, minutes=30)
    async with life(path, later, {NAME: every("*/20 * * * *", missed="all")}) as process:
        await process.fire_until(later + timedelta(minutes=10), timedelta(minutes=1))
    later += timedelta(minutes=40)
    async with life(path, later, {NAME: every("*/20 * * * *", "Asia/Kathmandu", "all")}) as process:
        await process.fire_until(later + timedelta(minutes=30), timedelta(minutes=1))
    assert [one[11:] for one in fired(path)] == ["15:40", "16:15", "16:35"]


async def test_a_changed_policy_keeps_the_missed_times(path: Path) -> None:
    """The policy says what happens to the times that were missed, also to those missed before it was changed."""
    async with life(path, NOON, {NAME: every("@hourly", missed="none")}):
        pass
    async with life(path, NOON + timedelta(hours=2), {NAME: every("@hourly", missed="all")}):
        pass
    assert [one[11:] for one in fired(path)] == ["13:00", "14:00"]


async def test_a_removed_schedule_is_forgotten(path: Path) -> None:
    """A schedule that the definitions no longer have fires no more, and begins anew when it comes back."""
    both = {NAME: every("@hourly", missed="all"), "executor/other": every("@hourly", missed="all")}
    async with life(path, NOON, both):
        pass
    async with life(path, NOON + timedelta(hours=1), {NAME: both[NAME]}):
        pass
    assert query(path, "SELECT workflow_name FROM schedule") == [(NAME,)]
    async with life(path, NOON + timedelta(hours=2), both):
        pass
    assert [one[11:] for one in fired(path)] == ["13:00", "14:00"]
    assert fired(path, "executor/other") == []


async def test_a_clock_that_is_set_back_fires_no_time_twice(path: Path) -> None:
    """When the clock is set back by an hour, the times that have fired don't fire again."""
    schedules = {NAME: every("*/30 * * * *")}
    async with life(path, NOON, schedules) as process:
        await process.fire_until(NOON + timedelta(hours=1), timedelta(minutes=5))
        process.now = NOON
        await process.fire_until(NOON + timedelta(minutes=50), timedelta(minutes=5))
    async with life(path, NOON, schedules) as process:
        await process.fire_until(NOON + timedelta(hours=2), timedelta(minutes=5))
    assert [one[11:] for one in fired(path)] == ["12:30", "13:00", "13:30", "14:00"]


async def test_a_clock_that_was_years_ahead_does_not_stop_a_schedule(path: Path) -> None:
    """A schedule that was first seen with a wrong clock fires from the first start with a right one."""
    schedules = {NAME: every("@daily")}
    async with life(path, NOON + timedelta(days=36500), schedules):
        pass
    async with life(path, NOON, schedules) as process:
        await process.fire_until(NOON + timedelta(days=2), timedelta(hours=1))
    assert fired(path) == ["2026-11-23T00:00", "2026-11-24T00:00"]


async def test_a_clock_that_is_set_back_by_years_does_not_stop_a_schedule_that_runs(path: Path) -> None:
    """The process need not be started again: the schedule fires from the moment on when the clock is right."""
    async with life(path, NOON, {NAME: every("*/30 * * * *")}) as process:
        process.now = NOON + timedelta(days=3650)
        await process.scheduler.fire_due()
        process.now = NOON
        await process.fire_until(NOON + timedelta(hours=1), timedelta(minutes=10))
    assert fired(path) == ["2036-11-19T12:00", "2026-11-22T12:30", "2026-11-22T13:00"]


async def test_rules_of_a_zone_that_change(path: Path) -> None:
    """A time that was computed with other rules of the timezone is computed again, and does not fire beside it."""
    schedules = {NAME: every("0 9 * * *", "Europe/Berlin")}
    async with life(path, NOON, schedules):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schedule SET next_at = next_at - 3600 * 1000000")
    async with life(path, NOON, schedules) as process:
        await process.fire_until(NOON + timedelta(days=1), timedelta(minutes=30))
    assert on_wall(path, "Europe/Berlin") == ["23 09:00+0100"]


async def test_two_schedulers_on_one_file_fire_each_time_once(path: Path) -> None:
    """Even without a lock between them, of two that see the same time as due only one fires it, and both go on."""
    schedules = {NAME: every("* * * * *")}
    async with life(path, NOON, schedules) as first, life(path, NOON, schedules) as second:
        for minute in range(1, 30):
            first.now = second.now = NOON + timedelta(minutes=minute)
            await asyncio.gather(first.scheduler.fire_due(), second.scheduler.fire_due())
            await asyncio.gather(first.scheduler.fire_due(), second.scheduler.fire_due())
        assert len(first.started) + len(second.started) == 29
        for minute, alone in ((30, first), (31, second), (32, first)):
            alone.now = NOON + timedelta(minutes=minute)
            await alone.scheduler.fire_due()
            await alone.scheduler.fire_due()
    assert [one[11:] for one in fired(path)] == [f"12:{minute:02}" for minute in range(1, 33)]


class Broken(Schedule):
    """A schedule with a fault in it."""

    def due(self, next_at: datetime, now: datetime) -> DueTimes:
        raise RuntimeError


async def test_a_schedule_that_fails_does_not_stop_the_others(path: Path) -> None:
    """An error in one schedule is logged, the others fire, and it is tried again soon."""
    schedules = {NAME: every("@hourly"), "executor/broken": Broken("@hourly", "UTC", "last")}
    with logged(logging.ERROR) as lines:
        async with life(path, NOON, schedules) as process:
            process.now = NOON + timedelta(hours=1)
            assert await process.scheduler.fire_due() == process.now + timedelta(seconds=1)
    assert [one[11:] for one in fired(path)] == ["13:00"]
    assert any("executor/broken" in line for line in lines)


async def test_a_full_disk_loses_no_time(path: Path) -> None:
    """A time that can't be written is due still, and fires once there is space."""
    async with life(path, NOON, {NAME: every("@hourly")}) as process:
        process.now = NOON + timedelta(hours=1)
        with full_disk(path), pytest.raises(PlatformUnavailableError):
            await process.scheduler.fire_due()
        assert process.started == []
        await process.scheduler.fire_due()
        assert len(process.started) == 1
    assert [one[11:] for one in fired(path)] == ["13:00"]
