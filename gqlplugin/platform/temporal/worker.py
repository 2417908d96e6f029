"""Runs jobs in this process: each session is an activity, which records jobs in the run's workflow."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from gqlplugin.errors import JobFailedError, NotFoundError, PlatformUnavailableError
from gqlplugin.identity import AuthInvoker, load_invoker, load_user
from gqlplugin.platform.base import Definitions, RunnableJob
from gqlplugin.platform.replay import MAIN, ActiveJob, Replay, RunInterrupted, RunParked
from gqlplugin.platform.temporal.admission import Admission, AdmissionActivities
from gqlplugin.platform.temporal.batch import Batch
from gqlplugin.platform.temporal.client import answering, ensure_search_attributes
from gqlplugin.platform.temporal.interpreter import Interpreter
from gqlplugin.platform.temporal.messages import (
    MAX_MEMO_CHARACTERS,
    MAX_MESSAGE_BYTES,
    RUN_JOBS,
    End,
    Outcome,
    Record,
    Recorded,
    Row,
    Session,
    Wait,
    dump_error,
    job_id,
    load_moment,
    row_of,
    shortened,
    size_of_rows,
)
from gqlplugin.platform.temporal.schedules import Fire, FireActivities, follow_schedules
from gqlplugin.platform.temporal.starts import Starts
from gqlplugin.platform.threads import DaemonThreads, Watchdog
from gqlplugin.runs import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    WorkflowExecution,
    retry_wait,
)
from gqlplugin.tasks import stop
from gqlplugin.telemetry import count_end

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


_logger = logging.getLogger("gqlplugin.temporal")

_FIRST_BEAT_SECONDS = 0.05
_LEAST_SECONDS = 0.1
_SESSIONS_PER_BEAT = 200
_MAX_DETAIL = 32 * 1024
_ENDS = (End.SUCCESS, End.FAILED, End.CANCELED)


class Sessions:
    """Runs the sessions that Temporal gives to this process.

    Args:
        definitions: Where the jobs come from.
        client: Calls the service.
        starts: Starts the workflows that jobs start.
        threads: How many threads jobs that are plain functions may use.
        heartbeat: After which silence this process counts as dead.

    Attributes:
        handed_over: Whether sessions have ended since it was told to drain: somebody has to go on with their runs.
    """

    def __init__(
        self, definitions: Definitions, client: Client, starts: Starts, *, threads: int, heartbeat: timedelta
    ) -> None:
        self._workflows = {**definitions.workflows, **definitions.firings}
        self._definitions = definitions
        self._client = client
        self._starts = starts
        self._threads = DaemonThreads(threads)
        self._heartbeat = heartbeat
        self._replays: set[Replay] = set()
        self._draining = False
        self.handed_over = False
        self._context = copy_context()

    @property
    def is_busy(self) -> bool:
        """Whether any session runs here."""
        return bool(self._replays)

    def drain(self) -> None:
        """Begin no more jobs: sessions end at their next trigger."""
        self._draining = True
        for replay in self._replays:
            replay.draining = True

    @activity.defn(name=RUN_JOBS)
    async def run_jobs(self, session: Session, record: bytes) -> Outcome:
        """Run the jobs of a run from its record, to wherever they get."""
        workflow = self._workflows.get(session.workflow_name)
        if workflow is None or workflow.main_job is None:
            _logger.warning("A run of workflow %r waits: this app does not have it", session.workflow_name)
            return Outcome(end=End.UNKNOWN)
        policy = workflow.concurrency_policy
        if policy is not None and session.limit is None:
            return Outcome(end=End.LIMITED, limit=policy.max_concurrent_executions)
        info = activity.info()
        run_id = info.workflow_id or ""
        handle = self._client.get_workflow_handle_for(Interpreter.run, run_id, run_id=info.workflow_run_id)
        recorder = TemporalRecorder(handle, session.epoch, self._starts, self._threads)
        execution = _execution_of(run_id, session)
        known = Record.load(record).jobs(execution.id)
        keeper = asyncio.current_task()
        replay = Replay(execution, self._definitions, recorder, known, job_id=job_id, keeper=keeper)
        recorder.replay = replay
        replay.draining = self._draining
        self._replays.add(replay)
        lease = _Lease(replay, self._heartbeat)
        if datetime.now(UTC) - info.started_time > self._heartbeat / 2:  # it lay about, or the clocks differ
            await self._renew(lease, [])
        beats = asyncio.create_task(self._beat(recorder, lease))
        try:
            return await self._outcome_of(replay, workflow.main_job, workflow.retry_policy, recorder)
        finally:
            beats.cancel()
            lease.close()
            self._replays.discard(replay)
            self.handed_over |= self._draining

    async def _outcome_of(
        self, replay: Replay, main_job: RunnableJob, policy: RetryPolicy | None, recorder: TemporalRecorder
    ) -> Outcome:
        running = self._context.copy().run(asyncio.ensure_future, replay.run(main_job))
        await _attend(running, replay)
        if not running.done():  # it ignores that it was cancelled
            return Outcome(end=End.INTERRUPTED, rows=[*recorder.take_unsent(), *recorder.live_rows()])
        try:
            main = await running
            if replay.canceling and main.status is not JobStatus.SUCCESS:
                await replay.threads_ended()  # else a resume would run the same job a second time beside them
        except RunParked:
            return Outcome(end=End.WAITING, rows=recorder.take_unsent(), wait=recorder.wait)
        except (RunInterrupted, asyncio.CancelledError):
            return Outcome(end=End.INTERRUPTED, rows=[*recorder.take_unsent(), *recorder.live_rows()])
        rows = [*recorder.take_unsent(), row_of(lean(main))]
        outcome = _conclusion(replay, main, policy, rows)
        if outcome.end in _ENDS:
            count_end(replay.execution, ExecutionStatus(outcome.end), main.finished_at or datetime.now(UTC))
        return outcome

    async def _beat(self, recorder: TemporalRecorder, lease: _Lease) -> None:
        """Tell that this session is alive, and what its jobs do."""
        await asyncio.sleep(_FIRST_BEAT_SECONDS)
        while True:
            recorder.changed.clear()
            rows = recorder.live_rows()
            activity.heartbeat(rows)
            # often enough to be told of a cancel soon, and not more often than a service with many runs can bear
            longest = self._heartbeat.total_seconds() / 3
            if lease.age > longest:
                await self._renew(lease, rows)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(1.0, len(self._replays) / _SESSIONS_PER_BEAT), longest)):
                    await recorder.changed.wait()
            await asyncio.sleep(_LEAST_SECONDS)

    async def _renew(self, lease: _Lease, rows: list[Row]) -> None:
        """Tell the same, and hear that it was heard, which `activity.heartbeat` does not say."""
        asked = asyncio.get_running_loop().time()
        handle = self._client.get_async_activity_handle(task_token=activity.info().task_token)
        try:
            async with asyncio.timeout(self._heartbeat.total_seconds() / 2):
                await handle.heartbeat(rows)
        except AsyncActivityCancelledError:
            pass  # of which `activity.heartbeat` is told too
        except (TimeoutError, RPCError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                lease.end()
            return
        lease.renew(asked)


class _Lease:
    """For how long a session is surely in this process only.

    After a silence the service gives it to another one. From then on nothing more may begin here, and no word of that
    need come through.

    Args:
        replay: What triggers nothing more when it ends.
        length: The longest silence.
    """

    def __init__(self, replay: Replay, length: timedelta) -> None:
        self._replay = replay
        self._seconds = length.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._timer = self._loop.call_at(self._since + self._seconds, self.end)

    @property
    def age(self) -> float:
        """For how many seconds nothing was heard."""
        return self._loop.time() - self._since

    def renew(self, since: float) -> None:
        """The service has heard of the session at this moment of the loop's time, or later."""
        self.close()
        self._since = since
        self._timer = self._loop.call_at(since + self._seconds, self.end)

    def end(self) -> None:
        """It may be in another process."""
        self._replay.draining = True

    def close(self) -> None:
        """It has ended."""
        self._timer.cancel()


async def _attend(running: asyncio.Task[Any], replay: Replay) -> None:
    """Wait for the end of a session, and heed what the service says meanwhile."""
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            if details is not None and details.cancel_requested and not details.worker_shutdown:
                replay.cancel()
                continue
            replay.draining = True
            await stop({running})
            if details is None or not details.worker_shutdown:
                raise


def _execution_of(run_id: str, session: Session) -> WorkflowExecution:
    facts = session.facts
    return WorkflowExecution(
        id=run_id,
        workflow_name=session.workflow_name,
        status=ExecutionStatus(session.status),
        input=session.input,
        created_at=datetime.fromisoformat(facts.created_at),
        caller=load_user(facts.caller),
        invoker=load_invoker(facts.invoker),
        attempt=session.attempt,
        depth=facts.depth,
        started_at=load_moment(session.began_at),
        trace=facts.trace,
    )


def _conclusion(replay: Replay, main: JobExecution, policy: RetryPolicy | None, rows: list[Any]) -> Outcome:
    """What the outcome of the main job makes of the run."""
    if main.status is JobStatus.SUCCESS:
        return Outcome(end=End.SUCCESS, rows=rows, output=main.result)
    is_canceled = replay.canceling or main.status is JobStatus.CANCELED
    wait = None if is_canceled else retry_wait(policy, replay.execution.attempt, main.error)
    replay.log_failure(main, policy, wait)
    if is_canceled:
        return Outcome(end=End.CANCELED, rows=rows)
    error = dump_error(_bounded(main.error))
    if wait is None:
        return Outcome(end=End.FAILED, rows=rows, error=error)
    return Outcome(
        end=End.RETRY,
        rows=rows,
        error=error,
        retry_seconds=wait.total_seconds(),
    )


def _bounded(error: ExecutionError | None) -> ExecutionError | None:
    """An error whose traceback is short enough for a memo: its end tells most."""
    if error is None or error.detail is None or len(error.detail) <= _MAX_DETAIL:
        return error
    return replace(error, detail=error.detail[-_MAX_DETAIL:])


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
