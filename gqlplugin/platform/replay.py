"""Runs the jobs of a run against its record: completed jobs return their recorded results, the next one runs."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar

from gqlplugin.codec import is_longer, same_json
from gqlplugin.errors import (
    DefinitionError,
    FailedPreconditionError,
    GqlpluginError,
    Interruption,
    InvalidInputError,
    JobFailedError,
    ReplayError,
    WaitTimedOutError,
    is_failure,
)
from gqlplugin.identity import AuthInvoker
from gqlplugin.platform.base import Definitions, JobRuntime, RunnableJob, current_job
from gqlplugin.platform.job_log import JobLog, PrintedText
from gqlplugin.runs import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    Progress,
    RetryPolicy,
    WorkflowExecution,
    effect_name,
    job_id_at,
    started_name,
    wait_name,
)
from gqlplugin.scope import Scope, enter_scope
from gqlplugin.tasks import begin, result_of
from gqlplugin.telemetry import Span, count_job, job_span, run_span, starting

__all__ = [
    "MAIN",
    "MAX_DEPTH",
    "MAX_LOG_BYTES",
    "ActiveJob",
    "Recorder",
    "Replay",
    "RunInterrupted",
    "RunParked",
]

MAX_LOG_BYTES = 64 * 1024
MAX_TEXT_LENGTH = 64 * 1024
"""How many characters of a message, or of a traceback, are kept."""


class Notes:
    """The log and the progress of one job.

    A body that runs again only to get to where it was goes on with the log it has: as many lines as that holds are
    taken for the same ones, and not added again.

    Attributes:
        lines: The log, of at most `MAX_LOG_BYTES`.
        progress: What the job said last.
    """

    __slots__ = ("_known", "_room", "lines", "progress")

    def __init__(self, begun: JobExecution | None) -> None:
        self.lines: list[str] = []
        self.progress: Progress | None = None
        self._room = MAX_LOG_BYTES
        self._known = 0
        if begun is not None:
            self.lines = list(begun.logs)
            self.progress = begun.progress
            self._room -= sum(map(_size_of, begun.logs))
            self._known = len(begun.logs)

    def add(self, line: str) -> bool:
        """Add a line; whether the log is another one now."""
        if self._known > 0:
            self._known -= 1
            return False
        if self._room <= 0:
            return False
        self._room -= _size_of(line)
        if self._room <= 0:
            line = f"(the log is full: {MAX_LOG_BYTES} bytes)"
        self.lines.append(line)
        return True


def bounded(error: ExecutionError) -> ExecutionError:
    """An error that can be recorded, however much the exception says."""
    detail = None if error.detail is None else shortened(error.detail)
    return replace(error, code=error.code[:MAX_TEXT_LENGTH], message=shortened(error.message), detail=detail)


def shortened(text: str) -> str:
    """A text without its middle, where it is too long: a traceback tells most at its ends."""
    left_out = len(text) - MAX_TEXT_LENGTH
    if left_out <= 0:
        return text
    half = MAX_TEXT_LENGTH // 2
    return f"{text[:half]} ... ({left_out} characters are left out) ... {text[-half:]}"


def _size_of(line: str) -> int:
    return len(line.encode(errors="replace")) + 1


R = TypeVar("R")


class RunInterrupted(Interruption):
    """The run stops here and goes on from its record later: the record can't be kept now, or the process is leaving."""


class RunParked(RunInterrupted):
    """The run waits at a wait point, and is kept as such: nothing of it need stay in memory."""


class Recorder(Protocol):
    """What a platform does for the run it replays.

    Attributes:
        max_bytes: How large a result, or what a job gives to what it triggers, may be, in bytes of UTF-8.
    """

    max_bytes: int

    def note(self, job: ActiveJob) -> None:
        """Keep the state of a running job soon; nothing depends on it."""
        ...

    def give_up(self, job: ActiveJob) -> None:
        """Keep the last state of a job that its caller waits for no longer, before what the caller does next."""
        ...

    async def ready(self) -> None:
        """Wait until something more may be triggered: not while what it does can't be kept."""
        ...

    async def finish(self, job: JobExecution) -> None:
        """Keep the outcome of a job; it is durable when this returns.

        Raises:
            RunInterrupted: It can't be kept now.
        """
        ...

    async def park(self, job: ActiveJob, wait: JobExecution, timeout: timedelta | None) -> None:
        """Keep that the run waits, with the jobs that led there, down to `job`; it is durable when this returns.

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

    async def start_workflows(
        self,
        parent: WorkflowExecution,
        job: JobExecution,
        name: str,
        args: Sequence[str],
        *,
        invoker: AuthInvoker | None,
    ) -> list[str]:
        """Start other runs from `parent`, and keep their IDs as the result of `job`: all or nothing.

        Raises:
            RunInterrupted: It can't be done now.
        """
        ...

    async def start_thread(self, call: Callable[[], R]) -> asyncio.Future[R]:
        """Start a call that blocks in a thread; the future is done when the thread has done its work."""
        ...


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


MAX_DEPTH = 10

_TURNS_TO_REACT = 10


class _Failure(NamedTuple):
    """What ended a job, and the job in which it happened: itself, or one that it triggered."""

    error: BaseException
    stacked_name: str


class ActiveJob(JobRuntime):
    """A job while its body runs; what `JobContext` and `job.trigger()` talk to."""

    def __init__(self, replay: Replay, job: RunnableJob, place: str, arg: str, caller: ActiveJob | None = None) -> None:
        self.replay = replay
        self.job = job
        self.place = place
        self.stacked_name: str = job.name if caller is None else f"{caller.stacked_name}/{job.name}"
        self.arg = arg
        self.caller = caller
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._triggered = 0
        self._ended = False
        self._has_failure = False
        self._unhandled: _Failure | None = None
        self.failure: _Failure | None = None
        self._scope = Scope()
        begun = replay.begun(place)
        self.started_at = datetime.now(UTC) if begun is None else begun.started_at
        self._notes = Notes(begun)
        self._printed = PrintedText()

    @property
    def execution(self) -> WorkflowExecution:
        return self.replay.execution

    @property
    def job_id(self) -> str:
        return self.replay.job_id(self.execution.id, self.place)

    @property
    def definitions(self) -> Definitions:
        return self.replay.definitions

    async def run(self) -> JobExecution:
        """Run the body; its outcome is returned, not recorded."""
        with job_span(self.execution, name=self.job.name, place=self.place, id_at=self.replay.job_id) as span:
            try:
                outcome = await self._run()
            except RunParked:
                span.ended(JobStatus.SUSPEND)
                raise
            tell_outcome(span, outcome)
        count_job(self.execution, outcome)
        return outcome

    async def _run(self) -> JobExecution:
        self.replay.recorder.note(self)
        token = current_job.set(self)
        try:
            with enter_scope(self._scope):
                result = await self.job.execute(self.arg, self)
                if is_longer(result, self.replay.recorder.max_bytes):
                    raise self._too_large()
            await self._end()
            if not self._scope.is_empty:
                await self._scope.commit()
            self._check_all_answered()
            self.replay.check()
            await self._raise_own_cancel()
            self._log_handled()
            return self.snapshot(JobStatus.SUCCESS, result=result)
        except asyncio.CancelledError as error:
            if self.replay.canceling:
                await self._end()
                return self.snapshot(JobStatus.CANCELED)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                if not self._is_canceled_by_itself():
                    self.replay.recorder.give_up(self)
                    raise
                while task.uncancel():
                    pass
            return await self._fail(error)
        except BaseException as error:
            if not (is_failure(error) or isinstance(error, BaseExceptionGroup)):
                raise  # what interrupts the run is raised again also out of a group
            return await self._fail(error)
        finally:
            self._ended = True
            current_job.reset(token)
            await self._scope.close()

    async def _raise_own_cancel(self) -> None:
        """Raise a cancellation that the body asked for itself, unless it has seen it already."""
        if (task := asyncio.current_task()) is not None and task.cancelling() and self._is_canceled_by_itself():
            await asyncio.sleep(0)

    def _is_canceled_by_itself(self) -> bool:
        """Whether nobody but the run's own code can have cancelled its task; below the main job, callers may."""
        return self.caller is None and not self.replay.is_stopping

    async def _end(self) -> None:
        """Refuse further triggers, and wait for the one that is still running (under a failed `asyncio.gather`)."""
        for line in self._printed.end():
            JobLog(self).info("%s", line)
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
        known = self._unhandled
        self.failure = _Failure(
            error, known.stacked_name if known is not None and known.error is error else self.stacked_name
        )
        return self.snapshot(JobStatus.FAILED, error=bounded(self._describe(error)))

    def _log_handled(self) -> None:
        """Log the failure of a triggered job whose caller goes on; a failure that ends the run is in the run's line."""
        failure, self._unhandled = self._unhandled, None
        if failure is not None and failure.error.__cause__ is not None:  # else it was logged in an earlier try
            _logger.warning(
                "Job %r of run %s failed, and its caller went on",
                failure.stacked_name,
                self.execution.id,
                exc_info=failure.error,
                extra={"run_id": self.execution.id, "job_id": self.job_id, "workflow": self.execution.workflow_name},
            )

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
            logs=tuple(self._notes.lines),
            progress=self._notes.progress,
            started_at=self.started_at,
            finished_at=datetime.now(UTC) if status.is_final else None,
        )

    async def trigger(self, job: RunnableJob, arg: str) -> str:
        self._check_loop()
        async with self._turn:
            await self._let_a_failure_pass()
            if not self._scope.is_empty:
                await self._scope.commit()
            self._log_handled()
            outcome, failure = await self.replay.guard(self._outcome_of(job, arg))
            self._has_failure = outcome.status is JobStatus.FAILED
            try:
                return _result_of(outcome)
            except JobFailedError as error:
                if failure is not None:
                    self._unhandled = _Failure(error, failure.stacked_name)
                    raise error from failure.error
                if outcome.error is not None and outcome.error.detail is not None:
                    error.add_note(outcome.error.detail)  # of an earlier try, whose exception is gone
                self._unhandled = _Failure(error, outcome.stacked_name)
                raise

    async def _let_a_failure_pass(self) -> None:
        """After a failure, let the body see it before a trigger that waited for its turn begins.

        When the failure ends the body, what waited under `asyncio.gather` is refused: it would not have been triggered
        had the calls been made one after another, and a resume must know the failure as the last thing that happened.
        """
        if self._has_failure:
            self._has_failure = False
            for _ in range(_TURNS_TO_REACT):
                await asyncio.sleep(0)

    async def _outcome_of(self, job: RunnableJob, arg: str) -> tuple[JobExecution, _Failure | None]:
        """What a triggered job came to; with the exception behind it, when it has failed here and now."""
        place = self._next_place()
        if self.definitions.jobs.get(job.name) is not job:
            raise DefinitionError(
                f"Job {job.name!r}, triggered by {self.stacked_name!r}, is not registered in app "
                f"{self.definitions.name!r}: add it to define_app(jobs=[...])."
            )
        outcome = self.replay.recorded(place, job.name, arg)
        if outcome is not None:
            return outcome, None
        child = ActiveJob(self.replay, job, place, arg, self)
        outcome = await child.run()
        await self.replay.recorder.finish(outcome)
        return outcome, child.failure

    def has_recorded(self, name: str, arg: str) -> bool:
        # not only at the next place: under `asyncio.gather` others may take that first
        for number in count(self._triggered):
            record = self.replay.record.get(f"{self.place}.{number}")
            if record is None:
                return False
            if record.name == name and same_json(record.input, arg):
                return True
        return False

    async def start_workflow(
        self, name: str, arg: str, *, invoker: AuthInvoker | None, idempotency_key: str | None
    ) -> str:
        self._check_loop()
        async with self._turn:
            if not self._scope.is_empty:
                await self._scope.commit()
            return await self.replay.guard(self._started_id(name, arg, invoker, idempotency_key))

    async def _started_id(self, name: str, arg: str, invoker: AuthInvoker | None, idempotency_key: str | None) -> str:
        place = self._next_place()
        self._check_depth(name)
        outcome = self.replay.recorded(place, started_name(name), arg)
        if outcome is not None:
            return str(json.loads(_result_of(outcome)))
        with starting(name) as start:
            run_id = await self.replay.recorder.start_workflow(
                self.execution,
                self._done(place, started_name(name), arg),
                name,
                arg,
                invoker=invoker,
                idempotency_key=idempotency_key,
            )
            start.began(run_id)
        return run_id

    async def start_workflows(self, name: str, args: Sequence[str], *, invoker: AuthInvoker | None) -> list[str]:
        self._check_loop()
        async with self._turn:
            await self._scope.commit()
            return await self.replay.guard(self._started_ids(name, args, invoker))

    async def _started_ids(self, name: str, args: Sequence[str], invoker: AuthInvoker | None) -> list[str]:
        place, arg = self._next_place(), f"[{','.join(args)}]"
        self._check_depth(name)
        outcome = self.replay.recorded(place, started_name(name), arg)
        if outcome is not None:
            return [str(one) for one in json.loads(_result_of(outcome))]
        record = self._done(place, started_name(name), arg)
        with starting(name) as start:
            run_ids = await self.replay.recorder.start_workflows(self.execution, record, name, args, invoker=invoker)
            start.began(*run_ids)
        return run_ids

    async def wait(self, wait_point: str, payload: str, timeout: timedelta | None) -> str:
        self._check_loop()
        async with self._turn:
            await self._let_a_failure_pass()
            await self._scope.commit()
            return await self.replay.guard(self._resolved(wait_point, payload, timeout))

    async def _resolved(self, wait_point: str, payload: str, timeout: timedelta | None) -> str:
        place = self._next_place()
        outcome = self.replay.recorded(place, wait_name(wait_point), payload)
        if outcome is None:
            wait = JobExecution(
                run_id=self.execution.id,
                place=place,
                name=wait_name(wait_point),
                stacked_name=f"{self.stacked_name}/{wait_point}",
                status=JobStatus.WAITING,
                input=payload,
                started_at=datetime.now(UTC),
            )
            await self.replay.recorder.park(self, wait, timeout)
            raise RunParked
        if outcome.error is not None and outcome.error.code == WaitTimedOutError.code:
            raise WaitTimedOutError(outcome.error.message)
        return _result_of(outcome)

    async def once(self, effect: str, arg: str, call: Callable[[], Awaitable[None]]) -> None:
        self._check_loop()
        async with self._turn:
            await self._scope.commit()
            await self.replay.guard(self._done_once(effect_name(effect), arg, call))

    async def _done_once(self, name: str, arg: str, call: Callable[[], Awaitable[None]]) -> None:
        place = self._next_place()
        if self.replay.recorded(place, name, arg) is None:
            await call()
            await self.replay.recorder.finish(replace(self._done(place, name, arg), result="null"))

    def _done(self, place: str, name: str, arg: str) -> JobExecution:
        """The record of something that is done at once."""
        now = datetime.now(UTC)
        return JobExecution(
            run_id=self.execution.id,
            place=place,
            name=name,
            stacked_name=f"{self.stacked_name}/{name}",
            status=JobStatus.SUCCESS,
            input=arg,
            started_at=now,
            finished_at=now,
        )

    async def run_sync(self, call: Callable[[], R]) -> R:
        return await self.replay.run_sync(call)

    def log(self, line: str) -> None:
        if not self._ended and self._notes.add(line):
            self.replay.recorder.note(self)

    def print(self, text: str) -> bool:
        if self._ended:
            return False
        for line in self._printed.add(text):
            JobLog(self).info("%s", line, stacklevel=3)  # where print was called: this is called by sys.stdout
        return True

    def progress(self, fraction: float, message: str | None) -> None:
        if self._ended:
            return
        self._notes.progress = Progress(fraction, None if message is None else shortened(message))
        self.replay.recorder.note(self)

    def _check_loop(self) -> None:
        """Refuse what a plain function or another thread triggers: the order of a job's triggers must be certain."""
        if asyncio.get_running_loop() is not self._loop:
            raise FailedPreconditionError(
                f"Job {self.stacked_name!r} can trigger and wait only on its own event loop, not in a thread: write "
                "the function as `async def`, and await it there. Nothing was started."
            )

    def _check_depth(self, name: str) -> None:
        if self.execution.depth >= MAX_DEPTH:
            raise FailedPreconditionError(
                f"Workflow {name!r} would be {MAX_DEPTH + 1} deep in workflows that trigger workflows; "
                f"the limit is {MAX_DEPTH}."
            )

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

    def _too_large(self) -> JobFailedError:
        message = (
            f"The result of job {self.stacked_name!r} has more than {self.replay.recorder.max_bytes} bytes: keep large "
            "values elsewhere and refer to them."
        )
        return JobFailedError(message, code="RESULT_TOO_LARGE", may_retry=False)

    def _describe(self, error: BaseException) -> ExecutionError:
        try:
            detail = "".join(traceback.format_exception(error))
        except Exception as failure:  # of the exception's own attributes
            detail = f"{type(error).__qualname__}, whose traceback can't be read: {type(failure).__qualname__}"
        if isinstance(error, JobFailedError):
            wait = None if error.retry_after is None else error.retry_after.total_seconds()
            return ExecutionError(error.job_code, error.message, detail, error.may_retry, wait)
        if isinstance(error, GqlpluginError):
            return ExecutionError(error.code, error.message, detail)
        return ExecutionError(JobFailedError.code, f"Job {self.stacked_name!r} failed.", detail)


def tell_outcome(span: Span, outcome: JobExecution) -> None:
    """Tell a span what became of a job, without what its error says."""
    span.ended(outcome.status, None if outcome.error is None else outcome.error.code)


def _result_of(outcome: JobExecution) -> str:
    if outcome.status is JobStatus.SUCCESS and outcome.result is not None:
        return outcome.result
    if outcome.status is JobStatus.CANCELED:
        raise asyncio.CancelledError
    error = outcome.error or ExecutionError(JobFailedError.code, f"Job {outcome.stacked_name!r} failed.")
    wait = None if error.retry_after is None else timedelta(seconds=error.retry_after)
    raise JobFailedError(error.message, code=error.code, may_retry=error.may_retry, retry_after=wait)
