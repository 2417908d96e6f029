"""The relay: everything that is committed starts, once, and in order where order is asked for."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gqlplugin.app import define_app
from gqlplugin.database import relay as relay_module
from gqlplugin.database.outbox import create_table, insert_starts
from gqlplugin.database.relay import MAX_HELD, Relay
from gqlplugin.errors import (
    JobFailedError,
    UnsupportedError,
)
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus, RetryPolicy
from gqlplugin.workflow import create_workflow
from tests.database.relaying import (
    ALICE,
    APP,
    ROBOT,
    Failing,
    engine,
    quick_pauses,
    relaying,
    rows_of,
    runs_of,
    start_of,
    until,
    until_empty,
    write,
)

__all__ = ["engine", "quick_pauses"]

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def working(gate: dict[int, asyncio.Event], done: list[int]) -> AsyncIterator[EmbeddedPlatform]:
    """A platform that runs `work`: it waits at its number's gate, fails once when negative, and notes the number."""
    failed: set[int] = set()

    @create_workflow_job(name="work-job")
    async def work(input: int, ctx: JobContext) -> None:
        if input in gate:
            await gate[input].wait()
        if input < 0 and input not in failed:
            failed.add(input)
            raise JobFailedError("The first try fails.", retry_after=timedelta(hours=1))
        done.append(input)

    workflow = create_workflow(name="work", main_job=work, retry_policy=RetryPolicy(max_retries=1))
    platform = EmbeddedPlatform(":memory:", shutdown_grace=timedelta(0))
    async with platform, platform.execute(define_app(APP, workflows=[workflow])):
        yield platform


async def test_a_committed_start_becomes_a_run(engine: AsyncEngine) -> None:
    """The run has the ID, argument, caller and invoker that were written, and the row is gone."""
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        start = start_of(7)
        await write(engine, start)
        await until_empty(engine)
        (run,) = await runs_of(platform)
    assert (run.id, run.workflow_name, run.input) == (start.run_id, "work", "7")
    assert (run.caller, run.invoker) == (ALICE, ROBOT)


async def test_what_was_committed_before_is_started(engine: AsyncEngine) -> None:
    """Rows that a process left behind start when the next one relays."""
    await write(engine, *map(start_of, range(10)))
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        await until_empty(engine)
        assert sorted(int(run.input) for run in await runs_of(platform)) == list(range(10))


async def test_what_is_not_committed_does_not_start(engine: AsyncEngine) -> None:
    """A transaction that is rolled back after its rows were written starts nothing."""
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        async with engine.connect() as connection:
            await connection.run_sync(insert_starts, [start_of(1)])
            await connection.rollback()
        await write(engine, start_of(2))
        await until_empty(engine)
        assert [run.input for run in await runs_of(platform)] == ["2"]


async def test_a_row_whose_run_is_there_starts_nothing(engine: AsyncEngine) -> None:
    """A process that died after a start and before the delete costs no second run."""
    async with EmbeddedPlatform(":memory:") as platform:
        start = start_of(7)
        await platform.start_workflow("work", "7", caller=ALICE, invoker=ROBOT, run_id=start.run_id)
        await write(engine, start)
        async with relaying(engine, platform):
            await until_empty(engine)
        assert [run.id for run in await runs_of(platform)] == [start.run_id]


async def test_wake_starts_at_once(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that is woken, from whatever thread, does not wait for its next look."""
    monkeypatch.setattr(relay_module, "_POLL_SECONDS", 3600)
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform) as relay:
        for n in range(3):
            await write(engine, start_of(n))
            thread = threading.Thread(target=relay.wake)
            thread.start()
            thread.join()
            await until_empty(engine)


async def test_wake_is_allowed_before_and_after(engine: AsyncEngine) -> None:
    """A commit while nobody relays is no error."""
    async with EmbeddedPlatform(":memory:") as platform:
        Relay(engine, APP, ["work"], platform).wake()
        async with relaying(engine, platform) as relay:
            await write(engine, start_of(1))
            await until_empty(engine)
        relay.wake()


async def test_rows_of_a_record_act_in_order(engine: AsyncEngine) -> None:
    """A run of a record starts when the one before it has ended, and other records and starts do not wait."""
    gate, done = {1: asyncio.Event()}, list[int]()
    async with working(gate, done) as platform, relaying(engine, platform):
        await write(engine, start_of(1, "slow"), start_of(2, "slow"), start_of(3, "slow"), start_of(4, "other"))
        await write(engine, start_of(5), start_of(6, "other"), start_of(7, "slow"))

        async def others_ran() -> bool:
            return sorted(done) == [4, 5, 6] and [row.arg for row in await rows_of(engine)] == ["2", "3", "7"]

        await until(others_ran)
        assert sorted(run.input for run in await runs_of(platform)) == ["1", "4", "5", "6"]
        gate[1].set()
        await until_empty(engine)

        async def all_ran() -> bool:
            return len(done) == 7

        await until(all_ran)
    assert [n for n in done if n not in (4, 5, 6)] == [1, 2, 3, 7]
    assert done.index(4) < done.index(6)


async def test_a_run_that_waits_for_its_retry_does_not_hold_up_the_next(engine: AsyncEngine) -> None:
    """When an operation failed and is tried again in an hour, the record goes on."""
    done = list[int]()
    async with working({}, done) as platform, relaying(engine, platform):
        await write(engine, start_of(-1, "one"), start_of(2, "one"))

        async def went_on() -> bool:
            return done == [2]

        await until(went_on)
        statuses = {run.input: run.status for run in await runs_of(platform)}
        assert statuses == {"-1": ExecutionStatus.PENDING_RETRY, "2": ExecutionStatus.SUCCESS}


async def test_a_long_queue_of_one_record_leaves_room_for_others(engine: AsyncEngine) -> None:
    """More rows of a record that is stuck than are read at a time do not keep others from starting."""
    gate, done = {1: asyncio.Event()}, list[int]()
    async with working(gate, done) as platform, relaying(engine, platform):
        await write(engine, *(start_of(n, "stuck") for n in range(1, 1200)))
        await write(engine, start_of(5000, "free"), start_of(5001))

        async def others_ran() -> bool:
            return sorted(done) == [5000, 5001]

        await until(others_ran)
        assert len(await runs_of(platform)) == 3


async def test_a_queue_of_one_record_drains_in_order(engine: AsyncEngine) -> None:
    """A record that changed often has its runs one after another, to the last."""
    done = list[int]()
    async with working({}, done) as platform, relaying(engine, platform):
        await write(engine, *(start_of(n, "busy") for n in range(60)))

        async def all_ran() -> bool:
            return len(done) == 60

        await until(all_ran)
    assert done == list(range(60))


async def test_a_backlog_is_held_in_part(engine: AsyncEngine) -> None:
    """However much waits, and however slow the platform is, so much is held at a time; all of it starts."""
    gate = asyncio.Event()

    class Slow(Failing):
        async def start_workflow(self, name: str, arg: str, **options: Any) -> str:
            self.asked.append(arg)
            await gate.wait()
            return str(options["run_id"])

    platform = Slow()
    async with platform, relaying(engine, platform) as relay:
        await write(engine, start_of(0))

        async def is_asked(number: int) -> bool:
            return len(platform.asked) >= number

        async def has_looked() -> bool:
            return not relay._woken.is_set()

        await until(partial(is_asked, 1))
        await write(engine, *(start_of(n, f"record {n}" if n % 2 else None) for n in range(1, 2 * MAX_HELD)))
        await until(partial(is_asked, MAX_HELD))
        for _ in range(3):
            relay.wake()
            await until(has_looked)
        assert len(platform.asked) == len(relay._lanes.held) == MAX_HELD
        gate.set()
        await until_empty(engine)
        assert sorted(map(int, platform.asked)) == list(range(2 * MAX_HELD))
        assert not relay._lanes.held


async def test_one_relays_and_another_takes_over(engine: AsyncEngine) -> None:
    """Of two relays, each with an engine of its own, one works; when it ends, the other one does."""
    first, second, another_engine = Failing(), Failing(), create_async_engine(engine.url)
    async with first, second:
        async with relaying(engine, first):
            await write(engine, start_of(1))
            await until_empty(engine)
            async with relaying(another_engine, second):
                for n in range(2, 12):
                    await write(engine, start_of(n))
                    await until_empty(engine)
                assert second.asked == []
        async with relaying(another_engine, second):
            await write(engine, start_of(12))
            await until_empty(engine)
    assert (len(first.asked), second.asked) == (11, ["12"])
    await another_engine.dispose()


async def test_apps_of_one_database_relay_beside_each_other(engine: AsyncEngine) -> None:
    """The role is one app's: another app's relay does not wait for it."""
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        await write(engine, start_of(1))
        await until_empty(engine)
        other = asyncio.create_task(Relay(engine, "other/../app", ["work"], platform).run())
        await write(engine, start_of(2, app="other/../app"))
        await until_empty(engine)
        other.cancel()
        await asyncio.wait([other])


async def test_cancelling_lets_go_of_everything(engine: AsyncEngine) -> None:
    """A relay that is cancelled in the middle of a backlog leaves no task, no lock and no connection."""
    await write(engine, *(start_of(n, f"record {n % 7}") for n in range(700)))
    async with EmbeddedPlatform(":memory:") as platform:
        before = asyncio.all_tasks()
        async with relaying(engine, platform):

            async def is_busy() -> bool:
                return bool(await runs_of(platform))

            await until(is_busy)
        assert asyncio.all_tasks() == before
        assert engine.pool.status().endswith("Current Checked out connections: 0")
        async with relaying(engine, platform, ["other"]):
            await write(engine, start_of(1, workflow_name="other"))

            async def is_ours() -> bool:
                return all(row.workflow_name == "work" for row in await rows_of(engine))

            await until(is_ours)


async def test_a_database_in_memory_is_always_ours() -> None:
    """No other process can be there."""
    engine = create_async_engine("sqlite+aiosqlite://")
    await create_table(engine)
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        await write(engine, start_of(1))
        await until_empty(engine)
        assert len(await runs_of(platform)) == 1
    await engine.dispose()


class OtherDialect(SQLiteDialect_aiosqlite):
    name = "othersql"
    supports_statement_cache = True


async def test_other_databases_are_refused(tmp_path: Path) -> None:
    """Where we know no lock that ends with its process, the message says what there is."""
    registry.register("othersql", __name__, "OtherDialect")
    engine = create_async_engine(f"othersql:///{tmp_path / 'file'}")
    with pytest.raises(UnsupportedError, match="othersql: use SQLite or PostgreSQL"):
        Relay(engine, APP, ["work"], EmbeddedPlatform(":memory:"))
    await engine.dispose()
