"""A clock that was wrong once: what was written while it was ahead goes on when it is right again."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.errors import WaitTimedOutError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform, first_uuid7_of
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.retention import ExpiryClock, delete_expired, restart_expiry
from gqlplugin.platform.embedded.rows import to_microseconds
from gqlplugin.runs import ConcurrencyPolicy, ExecutionFilter, ExecutionStatus, RetryPolicy
from gqlplugin.testing import MemoryPlatform
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import Workflow, create_workflow
from tests.contract.support import all_runs, ended, in_status, output_of, until
from tests.platform.embedded.support import ALICE, executing, logged, query, workflow_of

pytestmark = pytest.mark.anyio

YEAR = timedelta(days=365)
HOUR = timedelta(hours=1)

_TIMES = {
    "run": ("due_at", "waits_since", "created_at", "started_at", "finished_at"),
    "job": ("started_at", "finished_at"),
    "idempotency_key": ("expires_at", "kept_since"),
}


def shift(path: Path, by: timedelta) -> None:
    """Make a file what it would be had the clock been ahead until now, which is then set back."""
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        for table, columns in _TIMES.items():
            for column in columns:
                connection.execute(
                    f"UPDATE {table} SET {column} = {column} + ? WHERE {column} > 0",  # noqa: S608 - our own words
                    (by // timedelta(microseconds=1),),
                )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.sqlite"


def failing_once(backoff: timedelta) -> Workflow[Any, Any]:
    """A workflow whose first try fails, and whose second comes after a while."""
    tries: list[None] = []

    @create_workflow_job(name="fails-once")
    async def fails_once() -> int:
        tries.append(None)
        if len(tries) == 1:
            raise RuntimeError
        return len(tries)

    return workflow_of(fails_once, retry_policy=RetryPolicy(max_retries=1, initial_backoff=backoff))


approval = define_wait_point("approval", payload=str, result=bool)


@create_workflow_job(name="asks")
async def asks(seconds: float) -> str:
    try:
        return "yes" if await approval.wait("?", timeout=timedelta(seconds=seconds)) else "no"
    except WaitTimedOutError:
        return "timed out"


asking = create_workflow(name="asking", main_job=asks)


@create_workflow_job(name="number")
async def number(input: int) -> int:
    await asyncio.sleep(0)
    return input


async def waiting(platform: Platform, run_id: str) -> None:
    await in_status(platform, run_id, ExecutionStatus.WAITING)


async def test_what_was_accepted_while_the_clock_was_ahead_begins_at_the_next_start(path: Path) -> None:
    """A run that is due at once has no time that it would have to wait for; runs keep the order of their starts."""
    order: list[int] = []

    @create_workflow_job(name="one-by-one")
    async def one_by_one(input: int) -> None:
        order.append(input)

    workflow = workflow_of(one_by_one, concurrency_policy=ConcurrencyPolicy(max_concurrent_executions=1))
    async with EmbeddedPlatform(path):
        await workflow.trigger_many(range(3))
    shift(path, YEAR)
    async with EmbeddedPlatform(path):
        run_ids = [await workflow.trigger(index) for index in range(3, 6)]
    assert query(path, "SELECT DISTINCT due_at FROM run") == [(0,)]
    async with executing(platform := EmbeddedPlatform(path), workflow):
        for run_id in run_ids:
            await ended(platform, run_id)
    assert order == list(range(6))


def ids_of_wrong_clocks(count: int) -> list[str]:
    """IDs as runs get them while the clock is a year ahead, a year behind and right, again and again."""
    now = datetime.now(UTC)
    return [first_uuid7_of(now + YEAR * (number % 3 - 1) + timedelta(seconds=number)) for number in range(count)]


async def test_runs_begin_in_the_order_of_their_starts_whatever_the_clock_said(path: Path) -> None:
    """None overtakes another one by the time in its ID."""
    order: list[int] = []

    @create_workflow_job(name="notes-its-turn")
    async def notes_its_turn(input: int) -> None:
        order.append(input)

    async with EmbeddedPlatform(path) as platform:
        for index, run_id in enumerate(ids_of_wrong_clocks(12)):
            await platform.start_workflow("the-workflow", str(index), caller=ALICE, run_id=run_id)
    async with executing(platform := EmbeddedPlatform(path), workflow_of(notes_its_turn)):
        await until(lambda: asyncio.sleep(0, len(order) == 12))
    assert order == list(range(12))


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_pages_lose_and_double_nothing_whatever_the_clock_said(path: Path, oldest_first: bool) -> None:
    """They follow the order of the starts, also when runs are started between two pages."""
    run_ids = ids_of_wrong_clocks(20)
    where = ExecutionFilter(workflow_name="the-workflow", oldest_first=oldest_first)
    found: list[str] = []
    async with EmbeddedPlatform(path) as platform:

        async def start(*given: str) -> None:
            for run_id in given:
                await platform.start_workflow("the-workflow", "1", caller=ALICE, run_id=run_id)

        await start(*run_ids[:10])
        page = await platform.list_executions(where, first=3)
        found += [run.id for run in page.executions]
        shift(path, YEAR)
        await start(*run_ids[10:])
        while page.has_next:
            page = await platform.list_executions(where, first=3, after=page.cursors[-1])
            found += [run.id for run in page.executions]
    assert found == (run_ids if oldest_first else run_ids[9::-1])


async def test_what_was_running_or_resumed_while_the_clock_was_ahead_goes_on(path: Path) -> None:
    """So does an answered wait, whoever was to execute it."""
    held = asyncio.Event()

    @create_workflow_job(name="holds")
    async def holds(input: str) -> str:
        if input == "fails" and not held.is_set():
            raise RuntimeError
        await held.wait()
        return input

    holding = workflow_of(holds)
    async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta()), holding, asking):
        running, fails, asked = await holding.trigger("x"), await holding.trigger("fails"), await asking.trigger(9)
        await in_status(platform, running, ExecutionStatus.RUNNING)
        assert (await ended(platform, fails)).status is ExecutionStatus.FAILED
        await waiting(platform, asked)
    async with EmbeddedPlatform(path) as platform:
        await platform.resume(fails)
        await approval.resolve(asked, True)
    shift(path, YEAR)
    held.set()
    async with executing(platform := EmbeddedPlatform(path), holding, asking):
        assert [await output_of(platform, one) for one in (running, fails, asked)] == ["x", "fails", "yes"]


async def test_a_retry_that_was_put_off_while_the_clock_was_ahead_waits_its_own_time(path: Path) -> None:
    """After the next start it waits its backoff once more, not the year that the clock was wrong by."""
    workflow = failing_once(timedelta(seconds=0.2))
    async with executing(platform := EmbeddedPlatform(path), workflow):
        run_id = await workflow.trigger()
        await in_status(platform, run_id, ExecutionStatus.PENDING_RETRY)
    assert (await retry_of(path, run_id))[0] == "PENDING_RETRY"
    shift(path, YEAR)
    async with executing(platform := EmbeddedPlatform(path), workflow):
        assert await output_of(platform, run_id) == 2


async def retry_of(path: Path, run_id: str) -> tuple[str, int]:
    """The status and the backoff of a run in a file."""
    found: list[tuple[str, int]] = query(path, "SELECT status, due_at - waits_since FROM run WHERE id = ?", run_id)
    return found[0]


async def test_waits_go_on_when_the_clock_is_set_back_while_they_wait(path: Path) -> None:
    """A retry and a time-out come after their own length, in the process that runs; an answer is taken as before."""
    workflow = failing_once(timedelta(seconds=1))
    async with executing(platform := EmbeddedPlatform(path), workflow, asking):
        retried, expires, answered = await workflow.trigger(), await asking.trigger(1), await asking.trigger(3600)
        await in_status(platform, retried, ExecutionStatus.PENDING_RETRY)
        await waiting(platform, expires)
        await waiting(platform, answered)
        shift(path, HOUR)
        assert await output_of(platform, retried) == 2
        assert await output_of(platform, expires) == "timed out"
        left = query(path, "SELECT due_at FROM run WHERE id = ?", answered)[0][0]
        assert left <= to_microseconds(datetime.now(UTC) + HOUR)
        await approval.resolve(answered, True)
        assert await output_of(platform, answered) == "yes"


async def test_a_clock_that_is_right_leaves_waits_as_they_are(path: Path) -> None:
    """Their times do not move with restarts."""
    async with executing(platform := EmbeddedPlatform(path), asking):
        run_id = await asking.trigger(3600)
        await waiting(platform, run_id)
    times = query(path, "SELECT due_at, waits_since FROM run")
    async with executing(platform := EmbeddedPlatform(path), asking):
        await output_of(platform, await asking.trigger(0.01))
    assert query(path, "SELECT due_at, waits_since FROM run WHERE id = ?", run_id) == times
    assert times[0][0] - times[0][1] == 3_600_000_000


async def test_a_key_from_a_clock_that_was_ahead_is_kept_for_its_own_time(path: Path) -> None:
    """It answers for its time from the next start on, and then expires."""
    ttl = timedelta(seconds=2)
    numbers = workflow_of(number)
    async with EmbeddedPlatform(path, idempotency_key_ttl=ttl):
        first = await numbers.trigger(1, idempotency_key="k")
    shift(path, YEAR)
    async with executing(EmbeddedPlatform(path, idempotency_key_ttl=ttl), numbers):
        assert await numbers.trigger(1, idempotency_key="k") == first

        async def another() -> bool:
            return await numbers.trigger(1, idempotency_key="k") != first

        await until(another)


async def test_a_key_survives_a_clock_that_jumps_ahead_for_a_while() -> None:
    """The same request starts nothing meanwhile; the key expires when the clock stays ahead."""
    clocks = Clocks()
    clocks.wall = datetime.now(UTC)
    async with executing(platform := MemoryPlatform(), numbers := workflow_of(number)):
        _, starts = platform._entering.opened()
        starts._clock = clocks.expiry(None)
        first = await numbers.trigger(1, idempotency_key="k")
        clocks.wall += YEAR
        assert await numbers.trigger(1, idempotency_key="k") == first
        clocks.pass_by(timedelta(days=1))
        assert await numbers.trigger(1, idempotency_key="k") != first


async def test_a_key_survives_a_start_with_a_clock_far_ahead(path: Path) -> None:
    """A process that starts with a wrong clock must not start twice what is asked for again."""
    numbers = workflow_of(number)
    async with EmbeddedPlatform(path):
        first = await numbers.trigger(1, idempotency_key="k")
    shift(path, -YEAR)
    async with EmbeddedPlatform(path):
        assert await numbers.trigger(1, idempotency_key="k") == first


async def test_a_run_from_a_clock_that_was_ahead_is_kept_as_long_as_any(path: Path) -> None:
    """Its retention begins when the clock is right again."""
    async with executing(platform := EmbeddedPlatform(path), workflow := workflow_of(number)):
        await output_of(platform, await workflow.trigger(1))
    shift(path, YEAR)
    now = datetime.now(UTC)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET id = ?", (first_uuid7_of(now + YEAR),))
        connection.execute("UPDATE job SET run_id = (SELECT id FROM run)")
        restart_expiry(connection, now=now)
        delete_expired(connection, retention=HOUR, now=now + HOUR / 2)
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)
        restart_expiry(connection, now=now + HOUR / 2)
        delete_expired(connection, retention=HOUR, now=now + 2 * HOUR)
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (0,)


class Clocks:
    """A clock that can be set, and one that can't."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 1, 1, tzinfo=UTC)
        self.seconds = 100.0

    def pass_by(self, time: timedelta) -> None:
        self.wall += time
        self.seconds += time.total_seconds()

    def expiry(self, newest: datetime | None) -> ExpiryClock:
        return ExpiryClock(newest, lambda: self.wall, lambda: self.seconds)


def test_nothing_expires_by_a_clock_that_jumps_ahead_for_a_while() -> None:
    """Time goes on as before, until the clock is right again; one that stays ahead is believed after a day."""
    clocks = Clocks()
    expiry = clocks.expiry(clocks.wall)
    right = clocks.wall
    for _ in range(2):
        clocks.wall += YEAR
        for _ in range(6):
            clocks.pass_by(HOUR)
            right += HOUR
            assert expiry() == right
        clocks.wall -= YEAR
        assert expiry() == right == clocks.wall
    clocks.wall += YEAR
    assert expiry() == right
    clocks.pass_by(timedelta(days=1))
    assert expiry() == clocks.wall


def test_a_clock_that_is_far_ahead_of_the_newest_record_is_believed_after_a_day() -> None:
    """A process that starts with a wrong clock must not delete all there is; one that was down waits a day."""
    clocks = Clocks()
    newest = clocks.wall - YEAR
    expiry = clocks.expiry(newest)
    assert expiry() == newest
    clocks.pass_by(timedelta(days=1))
    assert expiry() == clocks.wall
    assert clocks.expiry(None)() == clocks.wall
    assert clocks.expiry(clocks.wall + YEAR)() == clocks.wall
    assert clocks.expiry(clocks.wall - HOUR / 2)() == clocks.wall


async def test_a_process_that_starts_with_a_clock_far_ahead_deletes_nothing(path: Path) -> None:
    """What looks older than the retention to that clock stays."""
    async with executing(platform := EmbeddedPlatform(path), workflow := workflow_of(number)):
        run_id = await workflow.trigger(1)
        await output_of(platform, run_id)
    shift(path, -YEAR)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET id = ?", (first_uuid7_of(datetime.now(UTC) - YEAR),))
    with logged() as lines:
        async with executing(platform := EmbeddedPlatform(path), workflow):

            async def looked() -> bool:
                return any("ahead of what was known" in line for line in lines)

            await until(looked)
            await output_of(platform, await workflow.trigger(2))
            assert len(await all_runs(platform)) == 2
