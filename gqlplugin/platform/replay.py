"""Running the jobs of a run against its record: recorded jobs answer, the next one runs. Shared by the platforms.

A run starts from the top of its main job each time. A trigger is known by its place: "0" is the main job, "0.2" the
third thing that it triggered. What is recorded as finished at a place answers from there; anything else runs, and its
outcome is durable before the caller goes on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from gqlplugin.codec import same_json
from gqlplugin.errors import (
    DefinitionError,
    FailedPreconditionError,
    GqlpluginError,
    JobFailedError,
    ReplayError,
)
from gqlplugin.execution import ExecutionError, JobExecution, JobStatus, Progress, WorkflowExecution
from gqlplugin.identity import AuthInvoker
from gqlplugin.platform.base import Definitions, JobRuntime, RunnableJob, current_job
from gqlplugin.platform.record import started_name
from gqlplugin.scope import Scope, enter_scope

R = TypeVar("R")

MAIN = "0"
MAX_DEPTH = 10
MAX_LOG_BYTES = 64 * 1024

_TURNS_TO_REACT = 10

_logger = logging.getLogger("gqlplugin.jobs")


class RunInterrupted(BaseException):
    """The run stops here and goes on from its record later: the record can't be kept now, or the process is leaving.

    Not an `Exception`, so that no job takes it for a failure of its own.
    """


class Recorder(Protocol):
    """What a platform does for the run it replays."""

    def note(self, job: ActiveJob) -> None:
        """Keep the state of a running job soon; nothing depends on it."""
        ...

    async def finish(self, job: JobExecution) -> None:
        """Keep the outcome of a job; it is durable when this returns.

        Raises:
            RunInterrupted: It can't be kept now.
        """
        ...

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
        """Start another run from `parent`, and keep its ID as the result of `job`: both or neither.

        Raises:
            RunInterrupted: It can't be done now.
        """
        ...

    async def run_sync(self, call: Callable[[], R]) -> R:
        """Run a call that blocks in a thread."""
        ...


class Replay:
    """One execution of a run.

    Args:
        execution: The run.
        definitions: Where its jobs come from.
        recorder: The platform's side.
        record: The jobs recorded so far, by place.
    """

    def __init__(
        self,
        execution: WorkflowExecution,
        definitions: Definitions,
        recorder: Recorder,
        record: Mapping[str, JobExecution],
    ) -> None:
        self.execution = execution
        self.definitions = definitions
        self.recorder = recorder
        self.record = record
        self.draining = False
        self._stopped: RunInterrupted | ReplayError | None = None

    async def run(self, main_job: RunnableJob) -> JobExecution:
        """Run the main job to its outcome. The outcome is returned, not recorded: it goes with the run's own."""
        recorded = self.record.get(MAIN)
        if recorded is not None and recorded.status.is_final:
            return recorded
        main = ActiveJob(self, main_job, MAIN, main_job.name, self.execution.input)
        return await main.run()

    def check(self) -> None:
        """Stop again what was stopped: a body may have caught it, and must not go on as if nothing had happened.

        Raises:
            RunInterrupted: The run was interrupted.
            ReplayError: It did not repeat its record.
        """
        if self._stopped is not None:
            raise self._stopped

    async def guard(self, trigger: Coroutine[Any, Any, R]) -> R:
        """Await a trigger, and remember what stops the run in it."""
        try:
            self.check()
            return await trigger
        except (RunInterrupted, ReplayError) as reason:
            self._stopped = self._stopped or reason
            trigger.close()
            raise

    def recorded(self, place: str, name: str, arg: str) -> JobExecution | None:
        """What is recorded as finished at a place.

        Raises:
            ReplayError: It is another job, or had other arguments.
        """
        record = self.record.get(place)
        if record is None or not record.status.is_final:
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


class ActiveJob(JobRuntime):
    """A job while its body runs; what `JobContext` and `job.trigger()` talk to."""

    def __init__(self, replay: Replay, job: RunnableJob, place: str, stacked_name: str, arg: str) -> None:
        self.replay = replay
        self.job = job
        self.place = place
        self.stacked_name = stacked_name
        self.arg = arg
        self.started_at = datetime.now(UTC)
        self._turn = asyncio.Lock()
        self._triggered = 0
        self._ended = False
        self._has_failure = False
        self._logs: list[str] = []
        self._log_room = MAX_LOG_BYTES
        self._progress: Progress | None = None
        self._scope = Scope()

    @property
    def execution(self) -> WorkflowExecution:
        return self.replay.execution

    @property
    def definitions(self) -> Definitions:
        return self.replay.definitions

    async def run(self) -> JobExecution:
        """Run the body; its outcome is returned, not recorded."""
        self.replay.recorder.note(self)
        token = current_job.set(self)
        try:
            with enter_scope(self._scope):
                result = await self.job.execute(self.arg, self)
            await self._end()
            if not self._scope.is_empty:
                await self._scope.commit()
            self._check_all_answered()
            self.replay.check()
            return self.snapshot(JobStatus.SUCCESS, result=result)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return await self._fail(error)
        except (Exception, SystemExit, BaseExceptionGroup) as error:
            return await self._fail(error)
        finally:
            self._ended = True
            current_job.reset(token)
            await self._scope.close()

    async def _end(self) -> None:
        """Refuse further triggers, and wait for the one that is still running (under a failed `asyncio.gather`)."""
        self._ended = True
        if self._turn.locked():
            async with self._turn:
                pass

    async def _fail(self, error: BaseException) -> JobExecution:
        await self._end()
        try:
            self.replay.check()
        except ReplayError as reason:
            error = reason
        return self.snapshot(JobStatus.FAILED, error=self._describe(error))

    def snapshot(
        self, status: JobStatus, *, result: str | None = None, error: ExecutionError | None = None
    ) -> JobExecution:
        """The record of this job as it is now."""
        return JobExecution(
            run_id=self.execution.id,
            place=self.place,
            name=self.job.name,
            stacked_name=self.stacked_name,
            status=status,
            input=self.arg,
            result=result,
            error=error,
            logs=tuple(self._logs),
            progress=self._progress,
            started_at=self.started_at,
            finished_at=datetime.now(UTC) if status.is_final else None,
        )

    async def trigger(self, job: RunnableJob, arg: str) -> str:
        async with self._turn:
            await self._let_a_failure_pass()
            if not self._scope.is_empty:
                await self._scope.commit()
            outcome = await self.replay.guard(self._outcome_of(job, arg))
            self._has_failure = outcome.status is JobStatus.FAILED
            return _result_of(outcome)

    async def _let_a_failure_pass(self) -> None:
        """After a failure, let the body see it before a trigger that waited for its turn begins.

        When the failure ends the body, what waited under `asyncio.gather` is refused: it would not have been triggered
        had the calls been made one after another, and a resume must know the failure as the last thing that happened.
        """
        if self._has_failure:
            self._has_failure = False
            for _ in range(_TURNS_TO_REACT):
                await asyncio.sleep(0)

    async def _outcome_of(self, job: RunnableJob, arg: str) -> JobExecution:
        place = self._next_place()
        if self.definitions.jobs.get(job.name) is not job:
            raise DefinitionError(
                f"Job {job.name!r}, triggered by {self.stacked_name!r}, is not registered in app "
                f"{self.definitions.name!r}: add it to define_app(jobs=[...])."
            )
        outcome = self.replay.recorded(place, job.name, arg)
        if outcome is None:
            child = ActiveJob(self.replay, job, place, f"{self.stacked_name}/{job.name}", arg)
            outcome = await child.run()
            await self.replay.recorder.finish(outcome)
        return outcome

    async def start_workflow(
        self, name: str, arg: str, *, invoker: AuthInvoker | None, idempotency_key: str | None
    ) -> str:
        async with self._turn:
            if not self._scope.is_empty:
                await self._scope.commit()
            return await self.replay.guard(self._started_id(name, arg, invoker, idempotency_key))

    async def _started_id(self, name: str, arg: str, invoker: AuthInvoker | None, idempotency_key: str | None) -> str:
        place = self._next_place()
        if self.execution.depth >= MAX_DEPTH:
            raise FailedPreconditionError(
                f"Workflow {name!r} would be {MAX_DEPTH + 1} deep in workflows that trigger workflows; "
                f"the limit is {MAX_DEPTH}."
            )
        outcome = self.replay.recorded(place, started_name(name), arg)
        if outcome is not None:
            return str(json.loads(_result_of(outcome)))
        now = datetime.now(UTC)
        record = JobExecution(
            run_id=self.execution.id,
            place=place,
            name=started_name(name),
            stacked_name=f"{self.stacked_name}/{started_name(name)}",
            status=JobStatus.SUCCESS,
            input=arg,
            started_at=now,
            finished_at=now,
        )
        return await self.replay.recorder.start_workflow(
            self.execution, record, name, arg, invoker=invoker, idempotency_key=idempotency_key
        )

    async def run_sync(self, call: Callable[[], R]) -> R:
        return await self.replay.recorder.run_sync(call)

    def log(self, line: str) -> None:
        if self._log_room <= 0 or self._ended:
            return
        self._log_room -= len(line.encode(errors="replace")) + 1
        if self._log_room <= 0:
            line = f"(the log is full: {MAX_LOG_BYTES} bytes)"
        self._logs.append(line)
        self.replay.recorder.note(self)

    def progress(self, fraction: float, message: str | None) -> None:
        if self._ended:
            return
        self._progress = Progress(fraction, message)
        self.replay.recorder.note(self)

    def _next_place(self) -> str:
        if self._ended:
            raise FailedPreconditionError(f"Job {self.stacked_name!r} has ended and can't trigger anything.")
        if self.replay.draining:
            raise RunInterrupted
        place = f"{self.place}.{self._triggered}"
        self._triggered += 1
        return place

    def _check_all_answered(self) -> None:
        left = self.replay.record.get(f"{self.place}.{self._triggered}")
        if left is not None and left.status.is_final:
            raise ReplayError(
                f"Run {self.execution.id} has recorded trigger {left.place}, {left.name!r}, which job "
                f"{self.stacked_name!r} no longer makes: code around triggers must lead to the same triggers."
            )

    def _describe(self, error: BaseException) -> ExecutionError:
        detail = "".join(traceback.format_exception(error))
        if isinstance(error, JobFailedError):
            wait = None if error.retry_after is None else error.retry_after.total_seconds()
            return ExecutionError(error.job_code, error.message, detail, error.may_retry, wait)
        if isinstance(error, GqlpluginError):
            return ExecutionError(error.code, error.message, detail)
        _logger.error("Job %r of run %s failed", self.stacked_name, self.execution.id, exc_info=error)
        return ExecutionError(JobFailedError.code, f"Job {self.stacked_name!r} failed.", detail)


def _result_of(outcome: JobExecution) -> str:
    if outcome.status is JobStatus.SUCCESS and outcome.result is not None:
        return outcome.result
    error = outcome.error or ExecutionError(JobFailedError.code, f"Job {outcome.stacked_name!r} failed.")
    wait = None if error.retry_after is None else timedelta(seconds=error.retry_after)
    raise JobFailedError(error.message, code=error.code, may_retry=error.may_retry, retry_after=wait)
