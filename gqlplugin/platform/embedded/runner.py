"""Running what is due: one task per run, as many as there is room for; the rest waits in the file."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Mapping
from contextvars import Context, copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.platform.base import Definitions
from gqlplugin.platform.embedded.claims import (
    Due,
    DueRun,
    begin_again,
    count_queued,
    count_recovery,
    explain_unknown,
    find_due,
    note_end,
    recover,
    restart_waits,
)
from gqlplugin.platform.embedded.control import find_cancels, settle_cancels
from gqlplugin.platform.embedded.file import WRITE_ERRORS
from gqlplugin.platform.embedded.reader import Reader
from gqlplugin.platform.embedded.recorder import JournalRecorder
from gqlplugin.platform.embedded.rows import Row, job_row, state_row, status_in
from gqlplugin.platform.embedded.writer import RowRefusedError, Writer
from gqlplugin.platform.queue import QueueDepth
from gqlplugin.platform.replay import MAIN, Replay, RunInterrupted, RunParked
from gqlplugin.platform.threads import Watchdog
from gqlplugin.runs import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    WorkflowExecution,
    retry_wait,
)
from gqlplugin.tasks import begin, stop
from gqlplugin.telemetry import count_end

_logger = logging.getLogger("gqlplugin.embedded")
_runs_logger = logging.getLogger("gqlplugin.runs")  # failed runs, as in `Replay.log_failure`

_PER_TURN = 32
_AGAIN_SECONDS = 1.0
_LONGEST_SLEEP_SECONDS = 15.0  # while a run waits for a time: the clock may be set
_ALONE_SECONDS = 2.0
_AGAIN = (ExecutionStatus.PENDING_RESUME, ExecutionStatus.PENDING_RETRY, ExecutionStatus.WAITING)


class Runner:
    """Executes the due runs of one file.

    Args:
        definitions: The workflows that can be run.
        max_concurrent_runs: How many tasks at once.
        max_recoveries: How often a run is begun again because its process died.
    """

    def __init__(
        self,
        definitions: Definitions,
        writer: Writer,
        reader: Reader,
        recorder: JournalRecorder,
        *,
        max_concurrent_runs: int,
        max_recoveries: int,
    ) -> None:
        self._definitions = definitions
        self._writer = writer
        self._reader = reader
        self._recorder = recorder
        self._max = max_concurrent_runs
        self._max_recoveries = max_recoveries
        self._crashed_up_to = 0
        self._recovered: set[str] = set()
        self._unknown: set[str] = set()
        self._main_jobs = {
            name: (workflow, workflow.main_job)
            for name, workflow in {**definitions.workflows, **definitions.firings}.items()
            if workflow.main_job is not None
        }
        self._active: dict[str, tuple[asyncio.Task[None], Replay]] = {}
        self._per_workflow: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._ending: Counter[str] = Counter()
        self._reading = False
        self._broken: set[str] = set()
        self._behind: frozenset[str] = frozenset(self._main_jobs)
        self._passed: set[str] = set()
        self._draining = False
        self._wake = asyncio.Event()
        self._context: Context = copy_context()
        self._feeder: asyncio.Task[None] | None = None
        self._queue: QueueDepth | None = None
        self._watchdog: Watchdog | None = None

    async def start(self) -> None:
        """Begin, with what an earlier process left unfinished."""
        await self.heed_cancels()
        left, self._crashed_up_to = await self._writer.call(partial(recover, now=datetime.now(UTC)))
        if left:
            _logger.info("%d unfinished runs go on from their record", left)
        await self.report_unknown()
        self._feeder = asyncio.create_task(self._feed())
        self._queue = QueueDepth(self._count_queued, self._main_jobs)
        self._watchdog = Watchdog(lambda: bool(self._active))

    async def report_unknown(self) -> None:
        """Record and log that runs wait because this app does not have their workflow; the log has each name once."""
        unknown = await self._writer.call(partial(explain_unknown, known=self._main_jobs))
        for name, count in unknown.items():
            if name not in self._unknown:
                self._unknown.add(name)
                _logger.warning(
                    "%d runs of workflow %r wait: app %r, which executes this file, does not have it. Add it to "
                    "define_app(workflows=[...]), or give each app a file of its own",
                    count,
                    name,
                    self._definitions.name,
                )

    def offer(self, run: WorkflowExecution) -> None:
        """Run a new run at once if there is room and nothing older waits; else it waits its turn in the file."""
        name = run.workflow_name
        if self._draining or name not in self._main_jobs or run.id in self._active or run.id in self._ended:
            return
        if name not in self._behind and self._room(name) > 0:
            self._launch(run, {})
        else:
            self._passed.add(name)
            self._behind |= {name}

    def is_active(self, run_id: str) -> bool:
        """Whether a task executes a run."""
        return run_id in self._active

    def wake(self) -> None:
        """Look for runs that are due."""
        self._wake.set()

    async def heed_cancels(self) -> None:
        """Stop the runs that are to be canceled, and end those that no task of this process executes."""
        run_ids = await self._reader.read(find_cancels)
        if not run_ids:
            return
        for run_id in run_ids:
            if run_id in self._active:
                self._active[run_id][1].cancel()
        ending = Counter(set(run_ids) - self._active.keys())
        # not to be picked up, as what is read of them until they have ended says that they are due
        self._ending += ending
        try:
            now = datetime.now(UTC)
            for run in await self._writer.call(partial(settle_cancels, run_ids=set(ending), now=now)):
                count_end(run, ExecutionStatus.CANCELED, now)
        finally:
            self._ending -= ending
            if self._reading:
                self._ended.update(ending)
            if ending:
                self.wake()  # one of them may have been resumed since

    async def drain(self, seconds: float) -> None:
        """Start no more jobs, give the running ones a time, then stop them; their runs go on at the next start."""
        self._draining = True
        ending = begin(self._writer.call(note_end))  # first: whoever ends this process may lose patience
        if self._queue is not None:
            self._queue.stop()
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        tasks = [task for task, _ in self._active.values()]
        for _, replay in self._active.values():
            replay.draining = True
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            if late:
                _logger.warning(
                    "%d runs were stopped after %s seconds; they go on at the next start", len(late), seconds
                )
            self._recorder.write_notes()
            await stop(late)
            for task, replay in self._active.values():
                if not task.done():
                    _logger.warning(
                        "Run %s of workflow %r ignores asyncio.CancelledError; it goes on from its record at the next "
                        "start: let jobs raise it again",
                        replay.execution.id,
                        replay.execution.workflow_name,
                    )
        await self._writer.give_up()
        await asyncio.gather(ending, return_exceptions=True)

    def threads_at_work(self) -> list[threading.Thread]:
        """The threads of plain jobs that have not ended, also of those that were canceled or stopped."""
        return self._recorder.threads_at_work()

    async def _feed(self) -> None:
        while True:
            self._wake.clear()
            try:
                next_at = await self._launch_due()
            except WRITE_ERRORS:
                next_at = datetime.now(UTC) + timedelta(seconds=_AGAIN_SECONDS)
            except Exception:
                _logger.exception("Due runs could not be read; the next try is in %s seconds", _AGAIN_SECONDS)
                next_at = datetime.now(UTC) + timedelta(seconds=_AGAIN_SECONDS)
            timeout = None if next_at is None else max(0.0, (next_at - datetime.now(UTC)).total_seconds())
            if timeout is not None:
                timeout = min(timeout, _LONGEST_SLEEP_SECONDS)
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _launch_due(self) -> datetime | None:
        await self._writer.writable.wait()
        self._passed.clear()
        room = {name: min(free, _PER_TURN) for name in self._main_jobs if (free := self._room(name)) > 0}
        find = partial(
            find_due,
            room=room,
            skip=self._broken.union(self._active),
            crashed_up_to=self._crashed_up_to,
            now=datetime.now(UTC),
        )
        self._reading = True
        try:
            due: Due = await self._reader.read(find)
            if due.clock_was_ahead:
                await self._restart_waits()
            self._behind = due.behind | self._passed | (self._main_jobs.keys() - room.keys())
            for found in due.runs:
                await self._take(found)
        finally:
            self._reading = False
            self._ended.clear()
        if any(self._room(name) > 0 for name in self._behind):
            self.wake()
        return due.next_at

    async def _restart_waits(self) -> None:
        restarted = await self._writer.call(partial(restart_waits, now=datetime.now(UTC)))
        if restarted:
            _logger.warning("The clock was set back: %d runs that wait for a time wait from now on", restarted)
            self.wake()

    async def _take(self, found: DueRun) -> None:
        """Launch a run that the file says is due, unless it was launched while the file was read."""
        run, record = found.run, found.record
        if self._is_known(run) or run.workflow_name not in self._main_jobs or not self._writer.writable.is_set():
            return
        if self._room(run.workflow_name) <= 0:
            self._behind |= {run.workflow_name}
            return
        if run.status in _AGAIN:
            begun = await self._writer.call(partial(begin_again, found=found, now=datetime.now(UTC)))
            if begun is None or self._is_known(run):
                return
            record = begun.record
        elif found.may_have_crashed and run.id not in self._recovered:
            count = await self._count_recovery(run)
            if not count or self._is_known(run):
                return
            self._recovered.add(run.id)
            if count == self._max_recoveries:
                # the last try is made alone for a while: a run is not to fail for what another one does to the process
                await asyncio.wait([self._launch(run, record)], timeout=_ALONE_SECONDS)
                return
        self._launch(run, record)

    async def _count_recovery(self, run: WorkflowExecution) -> int:
        """Count, durably, that a run is begun again which may have been running when the process before this one died.

        One that kills its process must not do so for ever: 0 when it was begun too often, and is FAILED.
        """
        now = datetime.now(UTC)
        count = await self._writer.call(partial(count_recovery, run=run, limit=self._max_recoveries, now=now))
        if count:
            return count
        _runs_logger.error(
            "Run %s of workflow %r is FAILED (PROCESS_DIED): the process died each of the %d times that it ran",
            run.id,
            run.workflow_name,
            self._max_recoveries + 1,
        )
        count_end(run, ExecutionStatus.FAILED, now)
        return 0

    async def _count_queued(self) -> Mapping[str, int]:
        # by their IDs, as the file may not know yet that they have begun
        return await self._reader.read(partial(count_queued, active=list(self._active), now=datetime.now(UTC)))

    def _is_known(self, run: WorkflowExecution) -> bool:
        """Whether more is known of a run than what was read: it runs here, or it has ended or is about to."""
        return any(run.id in one for one in (self._active, self._ended, self._ending, self._broken))

    def _room(self, name: str) -> int:
        workflow, _ = self._main_jobs[name]
        free = self._max - len(self._active)
        policy = workflow.concurrency_policy
        return free if policy is None else min(free, policy.max_concurrent_executions - self._per_workflow[name])

    def _launch(self, run: WorkflowExecution, record: Mapping[str, JobExecution]) -> asyncio.Task[None]:
        replay = Replay(run, self._definitions, self._recorder, record, keeper=self._feeder)
        context = self._context.copy()
        task = asyncio.get_running_loop().create_task(self._run(replay), context=context)
        self._active[run.id] = task, replay
        self._per_workflow[run.workflow_name] += 1
        return task

    async def _run(self, replay: Replay) -> None:
        had_threads = False
        try:
            await self._execute(replay)
            # until then it has its place, and is not begun again: it would run twice at once
            had_threads = await replay.threads_ended()
        finally:
            self._release(replay.execution)
            if had_threads:
                self.wake()

    async def _execute(self, replay: Replay) -> None:
        run = replay.execution
        workflow, main_job = self._main_jobs[run.workflow_name]
        try:
            outcome = await replay.run(main_job)
            is_canceled = replay.canceling and outcome.status is not JobStatus.SUCCESS
            if is_canceled and await replay.threads_ended():
                outcome = replace(outcome, finished_at=datetime.now(UTC))
            await self._conclude(replay, outcome, workflow.retry_policy)
        except RowRefusedError as error:
            await self._conclude_refused(replay, main_job.name, error)
        except RunParked:
            self.wake()  # its time-out may be the next thing that is due
        except (RunInterrupted, PlatformUnavailableError):  # it is left to the process that executes the file next
            self._recorder.abandoned(run)
        except asyncio.CancelledError:
            self._recorder.abandoned(run)
            raise
        except Exception:
            # not tried again here: what fails in the platform itself would run the same jobs over and over
            self._broken.add(run.id)
            self._recorder.abandoned(run)
            _logger.exception("Run %s was stopped by an error of the platform; it goes on at the next start", run.id)
        except BaseException:
            self._recorder.abandoned(run)
            raise

    async def _conclude(self, replay: Replay, outcome: JobExecution, policy: RetryPolicy | None) -> None:
        """Write the outcome of the main job and of the run, in one transaction."""
        run = replay.execution
        ended_by_cancel = replay.canceling and outcome.status is not JobStatus.SUCCESS
        retry_in = None if ended_by_cancel else retry_wait(policy, run.attempt, outcome.error)
        state = _canceled_state(run, outcome) if ended_by_cancel else _state_after(run, outcome, retry_in)
        job = job_row(outcome)
        self._recorder.ended(outcome)
        self._writer.put_job(job)
        self._writer.put_state(state)
        await self._writer.commit(self._writer.recorded(run.id))
        replay.log_failure(outcome, policy, retry_in)
        if (status := status_in(state)).is_final:
            count_end(run, status, outcome.finished_at or datetime.now(UTC))
        else:
            self.wake()  # a retry may be due

    async def _conclude_refused(self, replay: Replay, main_job: str, refusal: RowRefusedError) -> None:
        """Write that the run failed because something of it can't be recorded, and nothing else of it."""
        run, now = replay.execution, datetime.now(UTC)
        message = "Something that this run recorded can't be kept: the log of the server says why."
        outcome = JobExecution(
            run_id=run.id,
            place=MAIN,
            name=main_job,
            stacked_name=main_job,
            status=JobStatus.FAILED,
            input=run.input,
            error=ExecutionError("UNRECORDABLE", message, str(refusal), may_retry=False),
            started_at=run.started_at or now,
            finished_at=now,
        )
        self._recorder.abandoned(run)
        try:
            await self._conclude(replay, outcome, None)
        except (RunInterrupted, PlatformUnavailableError):
            self._broken.add(run.id)

    def _release(self, run: WorkflowExecution) -> None:
        del self._active[run.id]
        self._per_workflow[run.workflow_name] -= 1
        if self._reading:
            self._ended.add(run.id)
        if self._behind:
            self.wake()


def _state_after(run: WorkflowExecution, outcome: JobExecution, retry_in: timedelta | None) -> Row:
    """The state of a run after its main job's outcome."""
    error = outcome.error
    if retry_in is not None:
        return state_row(
            run,
            ExecutionStatus.PENDING_RETRY,
            attempt=run.attempt + 1,
            error=error,
            waits_since=datetime.now(UTC),
            wait=retry_in,
            started_at=outcome.started_at,
        )
    return state_row(
        run,
        ExecutionStatus(outcome.status),
        output=outcome.result,
        error=error,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
    )


def _canceled_state(run: WorkflowExecution, outcome: JobExecution) -> Row:
    """The state of a run that was told to stop, whatever its main job made of it."""
    return state_row(run, ExecutionStatus.CANCELED, started_at=outcome.started_at, finished_at=outcome.finished_at)
