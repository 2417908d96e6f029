"""Keeping what the jobs of a run do, while they do it: in the run's workflow."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar, cast

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from gqlplugin.errors import JobFailedError, NotFoundError, PlatformUnavailableError
from gqlplugin.execution import ExecutionError, JobExecution, JobStatus, WorkflowExecution
from gqlplugin.identity import AuthInvoker
from gqlplugin.platform.replay import MAIN, ActiveJob, Replay, RunInterrupted
from gqlplugin.platform.temporal.calls import answering
from gqlplugin.platform.temporal.interpreter import Interpreter
from gqlplugin.platform.temporal.messages import MAX_MEMO_CHARACTERS, Recorded, Wait
from gqlplugin.platform.temporal.records import MAX_MESSAGE_BYTES, Row, job_id, row_of, shortened, size_of_rows
from gqlplugin.platform.temporal.starts import Starts
from gqlplugin.platform.threads import DaemonThreads

R = TypeVar("R")

MAX_JOB_BYTES = MAX_MESSAGE_BYTES
"""What the input, the result and the log of a job that another one triggers may have together."""

_CALL = timedelta(seconds=30)
_LONGEST_PAUSE_SECONDS = 5.0


class TemporalRecorder:
    """The platform's side of the replay of one session.

    Args:
        handle: The workflow of the run.
        epoch: Which session it is.
        starts: Starts other workflows.
        threads: Where what blocks is run.

    Attributes:
        max_bytes: How large a result may be, or what a job gives to what it triggers.
        changed: Set when a running job has something new to tell.
        replay: What it records.
        wait: Where the run waits, once it does.
    """

    def __init__(
        self, handle: WorkflowHandle[Interpreter, str | None], epoch: int, starts: Starts, threads: DaemonThreads
    ) -> None:
        self.max_bytes = MAX_JOB_BYTES
        self.changed = asyncio.Event()
        self.replay: Replay | None = None
        self.wait: Wait | None = None
        self._handle = handle
        self._epoch = epoch
        self._starts = starts
        self._threads = threads
        self._active: dict[str, ActiveJob] = {}
        self._unsent: list[Row] = []
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def live_rows(self) -> list[Row]:
        """The jobs that are running, without the logs where they are too many."""
        return shortened([row_of(lean(job.snapshot(JobStatus.RUNNING))) for job in list(self._active.values())])

    def take_unsent(self) -> list[Row]:
        """What is to be told with whatever is told next."""
        rows, self._unsent = self._unsent, []
        return shortened(rows)

    def note(self, job: ActiveJob) -> None:
        """Tell of a running job with the next heartbeat."""
        self._active[job.place] = job
        if threading.get_ident() == self._thread:
            self.changed.set()
        else:
            self._loop.call_soon_threadsafe(self.changed.set)

    def give_up(self, job: ActiveJob) -> None:
        """Tell the last state of a job with whatever is recorded next."""
        self._active.pop(job.place, None)
        self._unsent.append(row_of(lean(job.snapshot(JobStatus.RUNNING))))

    async def ready(self) -> None:
        """Nothing to wait for: a session whose worker can't reach the service is ended by its lease."""

    async def finish(self, job: JobExecution) -> None:
        """Record the outcome of a job, durably.

        Raises:
            JobFailedError: It is too large; that it failed is recorded.
            RunInterrupted: Another session has taken over, or the run has been ended.
        """
        self._active.pop(job.place, None)
        row = row_of(job)
        is_large = size_of_rows([row]) > MAX_JOB_BYTES
        if is_large:
            job = _too_large(job)
            row = row_of(job)
        if self._unsent:
            await self._record(self.take_unsent(), f"{job.place}/before")
        await self._record([row], job.place)
        if is_large and job.error is not None:
            raise JobFailedError(job.error.message, code=job.error.code, may_retry=False)

    async def park(self, job: ActiveJob, wait: JobExecution, timeout: timedelta | None) -> None:
        """Note where the run waits, with the jobs that led there: the outcome of the session tells it."""
        step = cast(ActiveJob | None, job)
        while step is not None:
            self.give_up(step)
            step = step.caller
        self._unsent.append(row_of(wait))
        wait_point = wait.stacked_name.rpartition("/")[2]
        self.wait = Wait(
            place=wait.place,
            name=wait_point,
            payload=wait.input if len(wait.input) <= MAX_MEMO_CHARACTERS else None,
            since=wait.started_at.isoformat(),
            expires_at=None if timeout is None else (wait.started_at + timeout).isoformat(),
            expired=f"Nobody resolved wait point {wait_point!r} in time.",
        )

    async def start_workflow(
        self,
        parent: WorkflowExecution,
        job: JobExecution,
        name: str,
        arg: str,
        *,
        invoker: AuthInvoker | None,
        idempotency_key: str | None,
    ) -> str:
        """Start a run and record its ID. A session that does so again starts nothing: the ID follows from the place."""

        async def start() -> str:
            return await self._starts.start(
                name,
                arg,
                caller=parent.caller,
                invoker=invoker,
                idempotency_key=idempotency_key,
                depth=parent.depth + 1,
                within=job_id(parent.id, job.place),
            )

        run_id = await self._persist(start)
        await self.finish(replace(job, result=json.dumps(run_id)))
        return run_id

    async def start_workflows(
        self,
        parent: WorkflowExecution,
        job: JobExecution,
        name: str,
        args: Sequence[str],
        *,
        invoker: AuthInvoker | None,
    ) -> list[str]:
        """Start runs and record their IDs, as `start_workflow` does."""

        async def start() -> list[str]:
            return await self._starts.start_all(
                name,
                args,
                caller=parent.caller,
                invoker=invoker,
                depth=parent.depth + 1,
                within=job_id(parent.id, job.place),
            )

        run_ids = await self._persist(start)
        await self.finish(replace(job, result=json.dumps(run_ids)))
        return run_ids

    async def start_thread(self, call: Callable[[], R]) -> asyncio.Future[R]:
        """Start a call that blocks in one of a bounded number of threads."""
        return await self._threads.start(call)

    async def _record(self, rows: list[Row], place: str) -> None:
        async def update() -> bool:
            async with answering(_CALL):
                return await self._handle.execute_update(
                    Interpreter.record, Recorded(epoch=self._epoch, rows=rows), id=f"{self._epoch}/{place}"
                )

        try:
            is_full = await self._persist(update)
        except (WorkflowUpdateFailedError, NotFoundError) as error:
            raise RunInterrupted from error
        if is_full and self.replay is not None:
            self.replay.draining = True

    async def _persist(self, call: Callable[[], Awaitable[R]]) -> R:
        """The answer to a call, which is made until there is one: nobody else goes on with the run meanwhile."""
        pause, task = 0.1, asyncio.current_task()
        asked_to_stop = 0 if task is None else task.cancelling()
        while True:
            try:
                return await call()
            except PlatformUnavailableError as error:
                # Temporal's client has this one error for a call that was cancelled and one that took too long
                if task is not None and task.cancelling() > asked_to_stop:
                    raise asyncio.CancelledError from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def lean(job: JobExecution) -> JobExecution:
    """A job without what the run itself keeps of its main job."""
    return job if job.place != MAIN else replace(job, input="", result=None)


def _too_large(job: JobExecution) -> JobExecution:
    message = (
        f"The input, the result and the log of job {job.stacked_name!r} have more than {MAX_JOB_BYTES} bytes together: "
        "keep large values elsewhere and refer to them."
    )
    error = ExecutionError("RESULT_TOO_LARGE", message, may_retry=False)
    return replace(job, status=JobStatus.FAILED, result=None, error=error, logs=())
