"""(m): starts and completed runs on Temporal, beside temporalio used by hand, on the same server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from temporalio.client import Client

from bench.files import fresh
from bench.measure import Sample, Watch, in_turns, median_cpu, median_rate
from bench.sums import AddingByHand, adding
from bench.table import Row
from gqlplugin.platform.temporal import TemporalPlatform
from tests.temporal_server import TemporalServer

CALLERS = (1, 16, 64)
WORKERS = (1, 2)
STARTERS = 16
POLL_SECONDS = 0.02
WHOSE = ("ours", "peer")

Start = Callable[[int], Awaitable[object]]


def rows(directory: Path, *, starts: int, runs: int, repetitions: int, on_file: bool = True) -> list[Row]:
    """Measure both on a server that keeps all in memory, and completed runs on one that has a file too.

    Args:
        directory: On the disk to measure.
        starts: How many a sample has; of one caller a quarter.
        runs: How many a sample has, from the first start to the last end.
        repetitions: Samples of each kind.
        on_file: Whether to measure on a file too.
    """
    with TemporalServer() as server:
        found = [_starts(server.address, callers, starts, repetitions) for callers in CALLERS]
        found += _completed(server.address, "in memory", runs, repetitions)
    if on_file:
        with TemporalServer(fresh(directory / "temporal.sqlite")) as server:
            found += _completed(server.address, "on a file", runs, repetitions)
    return found


def _starts(address: str, callers: int, count: int, repetitions: int) -> Row:
    """Starts that are acknowledged, of runs that nobody executes."""
    count = count if callers > 1 else count // 4
    takes = [partial(_take_starts, whose, address, callers, count) for whose in WHOSE]
    ours, peer = in_turns(repetitions, *takes)
    name = f"(m) trigger on Temporal vs start_workflow by hand, {callers} callers"
    return Row(name, median_rate(ours), median_rate(peer), "/s", cpu=(median_cpu(ours), median_cpu(peer)))


def _completed(address: str, where: str, count: int, repetitions: int) -> list[Row]:
    """Runs from the first start to the last end."""
    found = []
    with ExitStack() as stack:
        for workers in WORKERS:
            for whose in WHOSE:
                stack.enter_context(_worker(address, whose))
            takes = [partial(_take_runs, whose, address, count) for whose in WHOSE]
            ours, peer = in_turns(repetitions, *takes)
            name = f"    completed 3-job runs vs 3 activities by hand, server {where}, {workers} worker processes"
            found.append(Row(name, median_rate(ours), median_rate(peer), "/s"))
    return found


def _take_starts(whose: str, address: str, callers: int, count: int) -> Sample:
    return asyncio.run(_measure(whose, address, f"starts-{uuid4().hex}", callers, count, to_the_end=False))


def _take_runs(whose: str, address: str, count: int) -> Sample:
    return asyncio.run(_measure(whose, address, whose, STARTERS, count, to_the_end=True))


async def _measure(whose: str, address: str, task_queue: str, callers: int, count: int, *, to_the_end: bool) -> Sample:
    client = await Client.connect(address)
    ended = await _ended(client, task_queue) + 1 + count
    async with _starter(whose, client, address, task_queue) as start:
        await start(0)  # which connects
        watch = Watch()
        left = iter(range(count))

        async def call() -> None:
            for number in left:
                await start(number)

        await asyncio.gather(*(call() for _ in range(callers)))
        while to_the_end and await _ended(client, task_queue) < ended:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(POLL_SECONDS)
        return watch.sample(count)


@asynccontextmanager
async def _starter(whose: str, client: Client, address: str, task_queue: str) -> AsyncIterator[Start]:
    if whose == "ours":
        async with TemporalPlatform(address, task_queue=task_queue):
            yield adding.trigger
        return

    async def start(number: int) -> None:
        await client.start_workflow(AddingByHand.run, number, id=str(uuid4()), task_queue=task_queue)

    yield start


async def _ended(client: Client, task_queue: str) -> int:
    """How many runs have ended well."""
    query = f"TaskQueue = '{task_queue}' AND ExecutionStatus = 'Completed'"
    return (await client.count_workflows(query)).count


@contextmanager
def _worker(address: str, whose: str) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.temporal_worker", address, whose, whose]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            assert process.stdout.readline() == "ready\n", "The worker did not start."  # noqa: S101
            yield
        finally:
            process.kill()
