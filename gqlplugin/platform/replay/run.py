"""One execution of a run: what is recorded of it, and what stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from gqlplugin.codec import is_longer, same_json
from gqlplugin.errors import InvalidInputError, JobFailedError, ReplayError
from gqlplugin.execution import (
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    WorkflowExecution,
    job_id_at,
)
from gqlplugin.platform.base import Definitions, RunnableJob
from gqlplugin.platform.replay.active_job import ActiveJob, tell_outcome
from gqlplugin.platform.replay.recorder import Recorder, RunInterrupted, RunParked
from gqlplugin.tasks import begin, result_of
from gqlplugin.telemetry import run_span

R = TypeVar("R")

MAIN = "0"

_logger = logging.getLogger("gqlplugin.runs")


class Replay:
    """One execution of a run.

    Args:
        execution: The run.
        definitions: Where its jobs come from.
        recorder: The platform's side.
        record: The jobs recorded so far, by place.
        job_id: The ID that the platform gives a job, of the run's ID and the job's place.
        keeper: The task that executes runs: when it is cancelled or has ended, so are its runs.

    Attributes:
        draining: Set when the process is leaving: nothing more is triggered.
        canceling: Set by `cancel`.
    """

    def __init__(
        self,
        execution: WorkflowExecution,
        definitions: Definitions,
        recorder: Recorder,
        record: Mapping[str, JobExecution],
        *,
        job_id: Callable[[str, str], str] = job_id_at,
        keeper: asyncio.Task[Any] | None = None,
    ) -> None:
        self.execution = execution
        self.definitions = definitions
        self.recorder = recorder
        self.record = record
        self.job_id = job_id
        self.draining = False
        self.canceling = False
        self._keeper = keeper
        self._main: ActiveJob | None = None
        self._task: asyncio.Task[Any] | None = None
        self._threads: set[asyncio.Future[Any]] = set()
        self._stopped: RunInterrupted | ReplayError | None = None

    async def run(self, main_job: RunnableJob) -> JobExecution:
        """Run the main job to its outcome. The outcome is returned, not recorded: it goes with the run's own."""
        recorded = self.record.get(MAIN)
        if recorded is not None and recorded.status.is_final:
            return recorded
        self._main = main = ActiveJob(self, main_job, MAIN, self.execution.input)
        if self.canceling:
            return main.snapshot(JobStatus.CANCELED)
        with run_span(self.execution, recorded=len(self.record)) as span:
            self._task = asyncio.current_task()
            try:
                outcome = await main.run()
            except RunParked:
                span.ended(ExecutionStatus.WAITING)
                raise
            finally:
                self._task = None
            tell_outcome(span, outcome)
        return outcome

    def log_failure(self, outcome: JobExecution, policy: RetryPolicy | None, retry_in: timedelta | None) -> None:
        """Log that the main job failed, in one line for all of the run's jobs; for platforms, once that is durable.

        Args:
            outcome: The main job's; nothing is logged unless it failed.
            policy: The workflow's.
            retry_in: How long the run waits for another try; None when it has ended.
        """
        if outcome.status is not JobStatus.FAILED:
            return
        run, failure = self.execution, None if self._main is None else self._main.failure
        job = outcome.stacked_name if failure is None else failure.stacked_name
        code = JobFailedError.code if outcome.error is None else outcome.error.code
        detail = None if failure is not None or outcome.error is None else outcome.error.detail
        attempt = "" if policy is None else f", attempt {run.attempt + 1} of {policy.max_retries + 1}"
        level, end = logging.ERROR, ""
        if retry_in is not None:
            level, end = logging.WARNING, f"; it is retried in {retry_in.total_seconds():g} seconds"
        elif self.canceling:
            level, end = logging.WARNING, " while it was being canceled"
        _logger.log(
            level,
            "Run %s of workflow %r failed in job %r with %s%s%s%s",
            run.id,
            run.workflow_name,
            job,
            code,
            attempt,
            end,
            "" if detail is None else f"\n{detail}",
            exc_info=None if failure is None else failure.error,
            extra={"run_id": run.id, "job_id": self.job_id(run.id, MAIN), "workflow": run.workflow_name},
        )

    @property
    def is_stopping(self) -> bool:
        """Whether what executes the run may have cancelled its task: the process is leaving, or the run is canceled."""
        keeper = self._keeper
        return self.draining or self.canceling or (keeper is not None and (keeper.done() or keeper.cancelling() > 0))

    def cancel(self) -> None:
        """Tell the job that is running to stop: `asyncio.CancelledError` is raised where it waits.

        Before the main job has begun, it does not begin; once it has its outcome, that stands. It is told once, so that
        it can clean up undisturbed.
        """
        if self.canceling:
            return
        self.canceling = True
        if self._task is not None:
            self._task.cancel()

    async def run_sync(self, call: Callable[[], R]) -> R:
        """Run a call that blocks in a thread, which works on when this is cancelled."""
        thread = begin(await self.recorder.start_thread(call))
        self._threads.add(thread)
        thread.add_done_callback(self._threads.discard)
        return await result_of(thread)

    async def threads_ended(self) -> bool:
        """Wait for the threads of plain jobs that were canceled or given up; returns whether there were any."""
        threads = list(self._threads)
        if threads:
            await asyncio.wait(threads)
        return bool(threads)

    def check(self) -> None:
        """Stop again what was stopped: a body may have caught it, and must not go on as if nothing had happened.

        Raises:
            RunInterrupted: The run was interrupted.
            ReplayError: It did not repeat its record.
        """
        if self._stopped is not None:
            raise self._stopped

    async def guard(self, trigger: Coroutine[Any, Any, R]) -> R:
        """Await a trigger, and remember what stops the run in it; a run that is being canceled triggers nothing."""
        try:
            if self._stopped is not None or self.canceling:
                await asyncio.sleep(0)  # a body that catches this in a loop must not freeze the event loop
            self.check()
            if self.canceling:
                raise asyncio.CancelledError
            await self.recorder.ready()
            return await trigger
        except (RunInterrupted, ReplayError) as reason:
            self._stopped = self._stopped or reason
            raise
        finally:
            trigger.close()

    def recorded(self, place: str, name: str, arg: str) -> JobExecution | None:
        """What is recorded as finished at a place.

        Raises:
            ReplayError: It is another job, or had other arguments.
            InvalidInputError: Nothing is, and the arguments are too large to be recorded.
        """
        record = self.record.get(place)
        if record is None or not record.status.is_final:
            if is_longer(arg, self.recorder.max_bytes):
                raise InvalidInputError(
                    f"What is given to {name!r} has more than {self.recorder.max_bytes} bytes: keep large values "
                    "elsewhere and refer to them. Nothing was started."
                )
            return None
        if record.name != name:
            raise ReplayError(
                f"Trigger {place} of run {self.execution.id} is recorded as {record.name!r} and is now {name!r}: "
                "code around triggers must lead to the same triggers when it runs again."
            )
        if not same_json(record.input, arg):
            raise ReplayError(
                f"Trigger {place} of run {self.execution.id}, {name!r}, is recorded with other arguments: "
                "arguments must not depend on the time, on chance, or on anything else that changes between two tries."
            )
        return record

    def begun(self, place: str) -> JobExecution | None:
        """A job at a place that has triggered something and has no outcome: its body runs again only to get there."""
        record = self.record.get(place)
        return record if record is not None and f"{place}.0" in self.record else None
