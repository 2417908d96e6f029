"""A process that runs jobs: it takes the workflows and the activities of a task queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from gqlplugin.platform.base import Definitions
from gqlplugin.platform.temporal.admission import Admission, AdmissionActivities
from gqlplugin.platform.temporal.attributes import ensure_search_attributes
from gqlplugin.platform.temporal.batch import Batch
from gqlplugin.platform.temporal.interpreter import Interpreter
from gqlplugin.platform.temporal.schedules import Fire, FireActivities, follow_schedules
from gqlplugin.platform.temporal.sessions import Sessions
from gqlplugin.platform.temporal.starts import Starts
from gqlplugin.platform.threads import Watchdog

_logger = logging.getLogger("gqlplugin.temporal")

WORKFLOWS = (Interpreter, Admission, Batch, Fire)
"""What runs in a worker process beside the jobs: code that must lead to the same commands in every version."""

_LIVE_INTERVAL = timedelta(milliseconds=500)
_STICKY = timedelta(seconds=3)
_LINGER_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a process runs jobs.

    Attributes:
        max_concurrent_runs: How many runs at once.
        threads: How many threads jobs that are plain functions may use.
        heartbeat: After which silence it counts as dead.
        grace: How long jobs may go on when it is told to stop.
        timeout: For a call to the service.
    """

    max_concurrent_runs: int
    threads: int
    heartbeat: timedelta
    grace: timedelta
    timeout: timedelta


@asynccontextmanager
async def working(
    connect: Callable[[], Awaitable[Client]],
    task_queue: str,
    definitions: Definitions,
    starts: Starts,
    options: WorkerOptions,
) -> AsyncIterator[None]:
    """While entered, this process runs the jobs of the definitions.

    When it is left, no more jobs begin; those that run may go on for the grace and are recorded, the others are
    stopped and begin again elsewhere.
    """
    client, other = await connect(), await connect()
    await ensure_search_attributes(client, options.timeout)
    await follow_schedules(
        client, task_queue, definitions, heartbeat_seconds=options.heartbeat.total_seconds(), timeout=options.timeout
    )
    sessions = Sessions(definitions, client, starts, threads=options.threads, heartbeat=options.heartbeat)
    small = [*AdmissionActivities(client).activities, *FireActivities(definitions).activities]
    worker = _worker(client, task_queue, options, [sessions.run_jobs, *small])
    successor = _worker(other, task_queue, options, small, no_remote_activities=True)
    async with worker:
        watchdog = Watchdog(lambda: sessions.is_busy)
        try:
            yield
        finally:
            watchdog.stop()
            await _leave(worker, successor, sessions)


async def _leave(worker: Worker, successor: Worker, sessions: Sessions) -> None:
    """Let a worker end. What its last jobs record needs somebody who takes the workflows' tasks: it no longer does."""
    sessions.drain()
    try:
        async with successor:
            await worker.shutdown()
            if sessions.handed_over:  # a task that comes while it leaves is lost, and missed only after ten seconds
                await asyncio.sleep(_LINGER_SECONDS)
    except RuntimeError as error:
        _logger.warning("What the last jobs record may be lost, and they begin again elsewhere: %s", error)
        await worker.shutdown()


def _worker(
    client: Client,
    task_queue: str,
    options: WorkerOptions,
    activities: Sequence[Any],
    *,
    no_remote_activities: bool = False,
) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=options.max_concurrent_runs,
        max_heartbeat_throttle_interval=_LIVE_INTERVAL,
        default_heartbeat_throttle_interval=_LIVE_INTERVAL,
        sticky_queue_schedule_to_start_timeout=_STICKY,
        graceful_shutdown_timeout=options.grace,
        no_remote_activities=no_remote_activities,
    )
