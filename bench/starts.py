"""(b) and (c): starts and completed runs in process, against bare commits of single rows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

from bench.files import fresh
from bench.measure import Sample, Watch, in_turns, median_cpu, median_rate
from bench.shop import OrderProcessing, app, order_processing
from bench.table import Bound, Row
from gqlplugin.platform.embedded import EmbeddedPlatform

CALLERS = (16, 64)
POLL_SECONDS = 0.01


def rows(directory: Path, *, count: int, repetitions: int) -> list[Row]:
    """Measure starts, and completed runs.

    Args:
        directory: On the disk to measure.
        count: Bare inserts per sample; starts and runs are multiples of it, so that all samples take about as long.
        repetitions: Samples of each kind.
    """
    takes = [partial(bare_inserts, directory, count)]
    takes += [partial(starts, directory, callers, 2 * count, execute=False) for callers in CALLERS]
    takes += [partial(starts, directory, callers, count // 2, execute=True) for callers in CALLERS]
    takes += [partial(completed_runs, directory, max(CALLERS), count // 2)]
    floor, *ours, completed = in_turns(repetitions, *takes)
    labels = [f"(b) workflow.trigger, {callers} callers, vs bare INSERT commits" for callers in CALLERS]
    labels += [f"    the same while the runs execute, {callers} callers" for callers in CALLERS]
    bounds = [Bound("at least", 1.2)] * len(CALLERS) + [None] * len(CALLERS)
    table = [_row(label, samples, floor, bound) for label, samples, bound in zip(labels, ours, bounds, strict=True)]
    name = f"(c) completed 3-job runs, {max(CALLERS)} callers, vs bare INSERT commits"
    return [*table, _row(name, completed, floor, Bound("at least", 0.4))]


def _row(name: str, ours: Sequence[Sample], floor: Sequence[Sample], bound: Bound | None) -> Row:
    cpu = median_cpu(ours), median_cpu(floor)
    return Row(name, median_rate(ours), median_rate(floor), "/s", bound, cpu)


def bare_inserts(directory: Path, count: int) -> Sample:
    """Commits of one row each, one after another, as durable as the journal's."""
    with closing(sqlite3.connect(fresh(directory / "floor.sqlite"), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE row (key TEXT PRIMARY KEY, value TEXT)")
        watch = Watch()
        for number in range(count):
            connection.execute("INSERT INTO row VALUES (?, ?)", (f"{number:036d}", "x" * 100))
        return watch.sample(count)


def starts(directory: Path, callers: int, count: int, *, execute: bool) -> Sample:
    """Starts by concurrent callers, each acknowledged before its next one."""
    return asyncio.run(_measure(directory, callers, count, execute=execute, to_the_end=False))


def completed_runs(directory: Path, callers: int, count: int) -> Sample:
    """Runs from the first start to the last SUCCESS in the file."""
    return asyncio.run(_measure(directory, callers, count, execute=True, to_the_end=True))


async def _measure(directory: Path, callers: int, count: int, *, execute: bool, to_the_end: bool) -> Sample:
    path = fresh(directory / "runs.sqlite")
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(EmbeddedPlatform(path))
        if execute:
            await stack.enter_async_context(platform.execute(app))
        watch = Watch()
        await _start(callers, count)
        sample = watch.sample(count)
        if execute:
            await _wait_for_success(path, count)
        return watch.sample(count) if to_the_end else sample


async def _start(callers: int, count: int) -> None:
    left = iter(range(count))

    async def call() -> None:
        for number in left:
            await order_processing.trigger(OrderProcessing(order_id=f"order-{number}", customer_id="customer-1"))

    await asyncio.gather(*(call() for _ in range(callers)))


async def _wait_for_success(path: Path, count: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(*) FROM run WHERE status = 'SUCCESS'"
        while connection.execute(query).fetchone()[0] < count:  # noqa: ASYNC110 - the file is all there is to look at
            await asyncio.sleep(POLL_SECONDS)
