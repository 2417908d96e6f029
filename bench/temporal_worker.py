"""A worker process: `python -m bench.temporal_worker ADDRESS QUEUE ours|peer` prints a line once it runs jobs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.sums import AddingByHand, add_one_by_hand, app
from gqlplugin.platform.temporal import TemporalPlatform

CONCURRENT_JOBS = 200


@asynccontextmanager
async def ours(address: str, task_queue: str) -> AsyncIterator[None]:
    """A worker of gqlplugin's."""
    platform = TemporalPlatform(address, task_queue=task_queue, max_concurrent_runs=CONCURRENT_JOBS)
    async with platform, platform.execute(app):
        yield


@asynccontextmanager
async def peer(address: str, task_queue: str) -> AsyncIterator[None]:
    """A worker by hand: with the runner, the pollers and the slots that ours has."""
    worker = Worker(
        await Client.connect(address),
        task_queue=task_queue,
        workflows=[AddingByHand],
        activities=[add_one_by_hand],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=CONCURRENT_JOBS,
    )
    async with worker:
        yield


async def main(address: str, task_queue: str, whose: str) -> None:
    """Work until the process is ended."""
    async with (ours if whose == "ours" else peer)(address, task_queue):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
