"""(i), (j): what a record trigger adds to a flush, and how fast an outbox is drained into a journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.files import fresh
from bench.measure import Sample, Watch, in_turns, median_cpu, median_milliseconds, median_rate
from bench.table import Row
from gqlplugin.checks import firing_name
from gqlplugin.database.outbox import create_table, table
from gqlplugin.database.record_changes import Subscription, listening, location_of_engine
from gqlplugin.database.relay import Relay
from gqlplugin.identity import dump_user, executor_user
from gqlplugin.platform.base import uuid7
from gqlplugin.platform.embedded import EmbeddedPlatform

APP, EXECUTOR = "bench-outbox", "thing-made"
FIRING, CALLER = firing_name(EXECUTOR), executor_user(EXECUTOR)
ARG = '{"type_name":"Watched","app_namespace":"bench-outbox","new_record":{"id":1,"name":"a thing"}}'
CALLERS = 64
POLL_SECONDS = 0.02
LONGEST_DRAIN_SECONDS = 900.0
ROWS_PER_INSERT = 5_000


class Base(DeclarativeBase):
    """The base of the tables."""


class Watched(Base):
    """A table that an executor waits for."""

    __tablename__ = "watched"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Plain(Base):
    """The same without an executor."""

    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def rows(directory: Path, *, flushes: int, drained: int, repetitions: int) -> list[Row]:
    """Measure both.

    Args:
        directory: On the disk to measure.
        flushes: How many of one object a sample has; of those of 100 objects a tenth.
        drained: Rows in the outbox, each of a record of its own; the runs are not executed meanwhile.
        repetitions: Samples of each flush, and of the starts beside the drain; the outbox is drained once.
    """
    found = []
    for objects, count in ((1, flushes), (100, max(1, flushes // 10))):
        takes = [partial(_run_flushes, directory, model, objects, count) for model in (Watched, Plain)]
        ours, peer = in_turns(repetitions, *takes)
        name = f"(i) flush of {objects} new objects with a record trigger vs without"
        cpu = median_cpu(ours), median_cpu(peer)
        found.append(Row(name, median_milliseconds(ours), median_milliseconds(peer), "ms", cpu=cpu))
    [starts] = in_turns(repetitions, partial(_run_starts, directory, max(1, drained // 20)))
    drain = asyncio.run(_drain(directory, drained))
    name = f"(j) rows drained from an outbox of {drained:,} vs starts by {CALLERS} callers"
    cpu = drain.cpu_microseconds, median_cpu(starts)
    return [*found, Row(name, drain.rate, median_rate(starts), "/s", cpu=cpu)]


def _run_flushes(directory: Path, model: type[Watched | Plain], objects: int, count: int) -> Sample:
    return asyncio.run(_flush(directory, model, objects, count))


async def _flush(directory: Path, model: type[Watched | Plain], objects: int, count: int) -> Sample:
    """Flushes of new objects, each undone: a commit would cost the same with and without."""
    async with _database(directory) as engine, engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    subscriptions = [Subscription(Watched, "created", EXECUTOR)]
    async with _database(directory, again=True) as engine:
        location = location_of_engine(engine.sync_engine)
        assert location is not None  # noqa: S101 - it is a file
        with listening(location, APP, subscriptions, lambda: None):
            watch = Watch()
            for _ in range(count):
                async with AsyncSession(engine) as session:
                    session.add_all([model(id=number, name="a thing") for number in range(objects)])
                    await session.flush()
            return watch.sample(count)


def _run_starts(directory: Path, count: int) -> Sample:
    return asyncio.run(_starts(directory, count))


async def _starts(directory: Path, count: int) -> Sample:
    """Starts under given IDs, which is what the relay asks the platform for."""
    async with EmbeddedPlatform(fresh(directory / "started.sqlite")) as platform:
        left = iter(range(count))

        async def call() -> None:
            for _ in left:
                await platform.start_workflow(FIRING, ARG, caller=CALLER, run_id=uuid7())

        watch = Watch()
        await asyncio.gather(*(call() for _ in range(CALLERS)))
        return watch.sample(count)


async def _drain(directory: Path, count: int) -> Sample:
    """An outbox from full to empty."""
    async with _database(directory) as engine, EmbeddedPlatform(fresh(directory / "drained.sqlite")) as platform:
        await _fill(engine, count)
        relay = Relay(engine, APP, [FIRING], platform)
        watch = Watch()
        task = asyncio.create_task(relay.run())
        try:
            async with asyncio.timeout(LONGEST_DRAIN_SECONDS):
                while await _is_left(engine):  # noqa: ASYNC110 - the outbox is all there is to look at
                    await asyncio.sleep(POLL_SECONDS)
            return watch.sample(count)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _fill(engine: AsyncEngine, count: int) -> None:
    for begin in range(0, count, ROWS_PER_INSERT):
        values = [
            {
                "run_id": uuid7(),
                "app": APP,
                "record": f"Watched:{number}",
                "workflow_name": FIRING,
                "arg": ARG,
                "caller": dump_user(CALLER),
            }
            for number in range(begin, min(begin + ROWS_PER_INSERT, count))
        ]
        async with engine.begin() as connection:
            await connection.execute(insert(table), values)


async def _is_left(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return (await connection.execute(select(table.c.seq).limit(1))).first() is not None


@asynccontextmanager
async def _database(directory: Path, *, again: bool = False) -> AsyncIterator[AsyncEngine]:
    path = directory / "outbox.sqlite"
    engine = create_async_engine(f"sqlite+aiosqlite:///{path if again else fresh(path)}")
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        await create_table(engine)
        yield engine
    finally:
        await engine.dispose()
