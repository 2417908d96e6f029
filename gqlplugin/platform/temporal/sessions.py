"""Running the jobs of runs in this process: each session is an activity."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.service import RPCError, RPCStatusCode

from gqlplugin.execution import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    WorkflowExecution,
)
from gqlplugin.identity import load_invoker, load_user
from gqlplugin.platform.base import Definitions, RunnableJob
from gqlplugin.platform.record import retry_wait
from gqlplugin.platform.replay import Replay, RunInterrupted, RunParked
from gqlplugin.platform.temporal.interpreter import Interpreter
from gqlplugin.platform.temporal.messages import RUN_JOBS, End, Outcome, Session
from gqlplugin.platform.temporal.recorder import TemporalRecorder, lean
from gqlplugin.platform.temporal.records import Record, Row, dump_error, job_id, load_moment, row_of
from gqlplugin.platform.temporal.starts import Starts
from gqlplugin.platform.threads import DaemonThreads
from gqlplugin.tasks import stop
from gqlplugin.telemetry import count_end

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
