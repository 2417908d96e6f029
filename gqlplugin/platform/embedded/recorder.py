"""Keeping what runs do in the journal, while they do it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar, cast

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.identity import AuthInvoker
from gqlplugin.platform.embedded.rows import job_row, state_row
from gqlplugin.platform.embedded.starts import Starts
from gqlplugin.platform.embedded.writer import Writer
from gqlplugin.platform.replay import MAIN, ActiveJob, RunInterrupted
from gqlplugin.platform.threads import DaemonThreads
from gqlplugin.runs import ExecutionStatus, JobExecution, JobStatus, WorkflowExecution

R = TypeVar("R")

_NOTE_SECONDS = 0.025


class JournalRecorder:
    """The platform's side of every replay: writes jobs, starts workflows, runs what blocks in threads.

    That a job is running is written once it has run for a moment; a job that ends sooner is written once, with its
    outcome.
    """

    def __init__(self, writer: Writer, starts: Starts, *, threads: int, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._writer = writer
        self._starts = starts
        self._threads = DaemonThreads(threads)
        self._fresh: dict[tuple[str, str], ActiveJob] = {}
        self._aged: dict[tuple[str, str], ActiveJob] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def note(self, job: ActiveJob) -> None:
        """Write the state of a running job within 50 ms, unless it has ended by then."""
        key = (job.execution.id, job.place)
        if key not in self._aged:
            self._fresh[key] = job
            if self._timer is None:
                self._schedule_from_any_thread()

    def give_up(self, job: ActiveJob) -> None:
        """Add the last state of a job to the next transaction."""
        state = job.snapshot(JobStatus.RUNNING)
        self.ended(state)
        self._writer.put_job(job_row(state))
        self._writer.flush()

    async def ready(self) -> None:
        """Wait until the journal can be written: what a job does meanwhile could be lost with this process."""
        if not self._writer.writable.is_set():
            await self._writer.writable.wait()

    async def finish(self, job: JobExecution) -> None:
        """Write the outcome of a job, durably; while the journal can't be written, this waits."""
        self.ended(job)
        self._writer.put_job(job_row(job))
        await self._commit(job.run_id)

    async def park(self, job: ActiveJob, wait: JobExecution, timeout: timedelta | None) -> None:
        """Write that a run waits, with the state of the jobs that led there, in one transaction."""
        main, step = job, cast(ActiveJob | None, job)
        while step is not None:
            state = step.snapshot(JobStatus.RUNNING)
            self.ended(state)
            self._writer.put_job(job_row(state))
            main, step = step, step.caller
        self._writer.put_job(job_row(wait))
        self._writer.put_state(
            state_row(
                job.execution,
                ExecutionStatus.WAITING,
                waits_since=wait.started_at,
                wait=timeout,
                started_at=main.started_at,
            )
        )
        await self._commit(wait.run_id)

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
        """Start a run and record its ID as the result of `job`, in one transaction."""
        try:
            return await self._starts.start(
                name,
                arg,
                caller=parent.caller,
                invoker=invoker,
                idempotency_key=idempotency_key,
                depth=parent.depth + 1,
                within=job,
            )
        except PlatformUnavailableError as error:
            raise RunInterrupted from error

    async def start_workflows(
        self,
        parent: WorkflowExecution,
        job: JobExecution,
        name: str,
        args: Sequence[str],
        *,
        invoker: AuthInvoker | None,
    ) -> list[str]:
        """Start runs and record their IDs as the result of `job`, in one transaction."""
        try:
            return await self._starts.start_all(
                name, args, caller=parent.caller, invoker=invoker, depth=parent.depth + 1, within=job
            )
        except PlatformUnavailableError as error:
            raise RunInterrupted from error

    async def start_thread(self, call: Callable[[], R]) -> asyncio.Future[R]:
        """Start a call that blocks in one of a bounded number of threads."""
        return await self._threads.start(call)

    def threads_at_work(self) -> list[threading.Thread]:
        """The threads that have not ended, those of jobs that nobody waits for among them."""
        return self._threads.at_work()

    def ended(self, job: JobExecution) -> None:
        """Write no more states of a running job: its outcome is about to be written."""
        key = (job.run_id, job.place)
        self._fresh.pop(key, None)
        self._aged.pop(key, None)

    def abandoned(self, run: WorkflowExecution) -> None:
        """Write no more states of the jobs of a run that stopped here without an outcome."""
        for jobs in (self._fresh, self._aged):
            for key in [key for key in jobs if key[0] == run.id]:
                del jobs[key]

    def write_notes(self) -> None:
        """Add the states of all running jobs to the next transaction."""
        self._write(self._aged | self._fresh)
        self._aged, self._fresh = {}, {}

    async def _commit(self, run_id: str) -> None:
        try:
            await self._writer.commit(self._writer.recorded(run_id))
        except PlatformUnavailableError as error:
            raise RunInterrupted from error

    def _schedule_from_any_thread(self) -> None:
        if threading.get_ident() == self._thread:
            self._schedule()
        else:
            self._loop.call_soon_threadsafe(self._schedule)

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_NOTE_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._write(self._aged)
        self._aged, self._fresh = self._fresh, {}
        if self._aged:
            self._schedule()

    def _write(self, jobs: dict[tuple[str, str], ActiveJob]) -> None:
        for job in jobs.values():
            self._writer.put_job(job_row(job.snapshot(JobStatus.RUNNING)))
            if job.place == MAIN:
                self._writer.put_state(state_row(job.execution, ExecutionStatus.RUNNING, started_at=job.started_at))
        if jobs:
            self._writer.flush()
