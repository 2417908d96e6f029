"""The workflow that every run is: it has its jobs run, keeps what they record, and waits where they wait.

It is the same for all workflows of all apps and knows no definitions: those are in the processes that run jobs, and
may change while a run goes on. It must lead to the same commands when Temporal replays its history, also in a later
version: `tests/platform/temporal/histories` has histories to prove it by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from temporalio import exceptions, workflow
from temporalio.common import RawValue, RetryPolicy, SearchAttributeUpdate
from temporalio.workflow import ActivityCancellationType

from gqlplugin.errors import WaitTimedOutError
from gqlplugin.platform.temporal.admission import give_back, request_admission
from gqlplugin.platform.temporal.messages import (
    ALWAYS,
    FACTS,
    MAX_MEMO_CHARACTERS,
    RUN_JOBS,
    STATE,
    STATUS,
    WAIT_POINT,
    WAITING_SINCE,
    Answer,
    End,
    Facts,
    Outcome,
    Record,
    Recorded,
    RecordTooLargeError,
    Session,
    Start,
    State,
    Wait,
    dump_error,
    load_moment,
    settled,
)
from gqlplugin.runs import ExecutionError, ExecutionStatus, JobStatus

_logger = logging.getLogger("gqlplugin.runs")

_LONGEST_PAUSE_SECONDS = 10
_ANSWERS_KEPT = 50
_TOO_LARGE = ExecutionError(
    "RECORD_TOO_LARGE", "The results of the run's jobs are too large: keep large values elsewhere and refer to them."
)


@workflow.defn(dynamic=True)
class Interpreter:
    """A run."""

    def __init__(self) -> None:
        self._record = Record()
        self._state = State()
        self._status = ExecutionStatus.PENDING
        self._start = Start(input="null", heartbeat_seconds=0)
        self._epoch = 0
        self._in_session = False
        self._updates = 0
        self._pauses = 0
        self._limit: int | None = None
        self._limit_at: datetime | None = None
        self._is_admitted = False
        self._wait: Wait | None = None
        self._answer: Answer | None = None

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str | None:
        """Run sessions until one ends the run."""
        read = workflow.payload_converter().from_payload
        self._begin(read(args[0].payload, Start), read(args[1].payload, bytes))
        try:
            while True:
                outcome = await self._session()
                if outcome.end is End.SUCCESS:
                    return self._succeed(outcome)
                if outcome.end is End.FAILED:
                    raise self._fail(outcome)
                if outcome.end is End.CANCELED or workflow.cancellation_reason() is not None:
                    raise asyncio.CancelledError
                await self._pause(outcome)
                if self._is_full():
                    self._go_on_anew()
        except asyncio.CancelledError:
            self._conclude()
            raise

    def _begin(self, start: Start, record: bytes) -> None:
        self._start = start
        self._record = Record.load(record)
        self._limit = start.limit
        self._limit_at = load_moment(start.limit_at) or workflow.info().workflow_start_time
        self._state.attempt = start.attempt
        self._state.started_at = start.began_at

    async def _session(self) -> Outcome:
        """Have the jobs run, from the record to wherever they get; when it is this run's turn, under a limit."""
        if self._limit is None:
            return await self._run_session()
        try:
            outcome = await self._run_limited_session(self._limit)
        except asyncio.CancelledError:  # and no `finally`: nothing may be awaited when Temporal drops the workflow
            await give_back()
            raise
        self._is_admitted = False
        await give_back()
        return outcome

    async def _run_limited_session(self, limit: int) -> Outcome:
        since = workflow.info().workflow_start_time if self._epoch == 0 else None
        await request_admission(limit, known_at=self._limit_at, since=since)
        await workflow.wait_condition(lambda: self._is_admitted)
        return await self._run_session()

    async def _run_session(self) -> Outcome:
        try:
            record = self._record.dump(beside=self._start.input)
        except RecordTooLargeError:
            return self._too_large()
        self._state.started_at = self._state.started_at or workflow.now().isoformat()
        status = workflow.info().typed_search_attributes.get(STATUS, ExecutionStatus.PENDING.value)
        self._say(ExecutionStatus.RUNNING)
        self._epoch += 1
        self._in_session = True
        try:
            outcome = await self._run_jobs(record, status)
        finally:
            self._in_session = False
        # what is recorded stands: of a session that was lost, only its last heartbeat is known, which may be older
        self._record.put([row for row in outcome.rows if not self._is_recorded(row[0])])
        return outcome

    def _is_recorded(self, place: str) -> bool:
        row = self._record.rows.get(place)
        return row is not None and JobStatus(row[3]).is_final

    async def _run_jobs(self, record: bytes, status: str) -> Outcome:
        session = Session(
            workflow_name=workflow.info().workflow_type,
            input=self._start.input,
            facts=workflow.memo_value(FACTS, type_hint=Facts),
            epoch=self._epoch,
            attempt=self._state.attempt,
            limit=self._limit,
            began_at=self._state.started_at,
            status=status,
        )
        try:
            outcome: Outcome = await workflow.execute_activity(
                RUN_JOBS,
                args=[session, record],
                result_type=Outcome,
                start_to_close_timeout=ALWAYS,
                heartbeat_timeout=timedelta(seconds=self._start.heartbeat_seconds),
                retry_policy=RetryPolicy(maximum_attempts=1),
                cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except exceptions.ActivityError as error:
            return _lost(error)
        return outcome

    async def _pause(self, outcome: Outcome) -> None:
        """Wait until the next session is due."""
        if outcome.end is End.RETRY:
            self._state.attempt += 1
            self._state.error = outcome.error
            self._say(ExecutionStatus.PENDING_RETRY)
            await workflow.sleep(outcome.retry_seconds)
            self._record.forget_failures()
            self._state.error = None
        elif outcome.end is End.WAITING and outcome.wait is not None:
            await self._await_answer(outcome.wait)
        elif outcome.end is End.LIMITED:
            self._limit, self._limit_at = outcome.limit, workflow.now()
            self._say(ExecutionStatus.PENDING)
        if outcome.end is not End.UNKNOWN:
            self._pauses = 0
        else:
            self._say(ExecutionStatus.PENDING)
            self._pauses += 1
            await workflow.sleep(min(2**self._pauses, _LONGEST_PAUSE_SECONDS))

    async def _await_answer(self, wait: Wait) -> None:
        self._wait, self._answer, self._state.wait = wait, None, wait
        since = datetime.fromisoformat(wait.since)
        self._say(ExecutionStatus.WAITING, WAIT_POINT.value_set(wait.name), WAITING_SINCE.value_set(since))
        expires_at = load_moment(wait.expires_at)
        timeout = None if expires_at is None else max(expires_at - workflow.now(), timedelta())
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._answer is not None, timeout=timeout)
        self._end_wait(wait)
        if len(self._state.answered) > _ANSWERS_KEPT:
            del self._state.answered[next(iter(self._state.answered))]
        self._wait, self._answer, self._state.wait = None, None, None
        self._say(ExecutionStatus.PENDING_RESUME, WAIT_POINT.value_unset(), WAITING_SINCE.value_unset())

    def _end_wait(self, wait: Wait) -> None:
        """Record the answer to a wait, or that none has come in time."""
        row, answer = self._record.rows[wait.place], self._answer
        if answer is not None:
            row = settled(row, JobStatus.SUCCESS, workflow.now(), result=answer.result)
        else:
            error = ExecutionError(WaitTimedOutError.code, wait.expired)
            row = settled(row, JobStatus.FAILED, workflow.now(), error=error)
        self._record.put([row])
        self._state.answered[wait.place] = "" if answer is None else answer.id

    def _is_full(self) -> bool:
        return self._updates >= self._start.most_recorded or workflow.info().is_continue_as_new_suggested()

    def _go_on_anew(self) -> None:
        """Go on in a new history, with the record."""
        try:
            record = self._record.dump(beside=self._start.input)
        except RecordTooLargeError:
            raise self._fail(self._too_large()) from None
        start = Start(
            input=self._start.input,
            heartbeat_seconds=self._start.heartbeat_seconds,
            limit=self._limit,
            limit_at=None if self._limit_at is None else self._limit_at.isoformat(),
            attempt=self._state.attempt,
            began_at=self._state.started_at,
            most_recorded=self._start.most_recorded,
        )
        workflow.continue_as_new(args=[start, record])

    def _too_large(self) -> Outcome:
        """The outcome of a run whose record can't be handed on; no job has failed, so nothing else logs it."""
        if not workflow.unsafe.is_replaying():
            info = workflow.info()
            _logger.error("Run %s of workflow %r failed with %s", info.workflow_id, info.workflow_type, _TOO_LARGE.code)
        return Outcome(end=End.FAILED, error=dump_error(_TOO_LARGE))

    def _succeed(self, outcome: Outcome) -> str | None:
        is_long = len(outcome.output or "") > MAX_MEMO_CHARACTERS
        self._state.output = None if is_long else outcome.output
        self._conclude()
        return outcome.output

    def _fail(self, outcome: Outcome) -> exceptions.ApplicationError:
        self._state.error = outcome.error
        self._conclude()
        code, message, *_ = outcome.error or ["JOB_FAILED", "The run failed."]
        return exceptions.ApplicationError(message, type=code, non_retryable=True)

    def _conclude(self) -> None:
        main = self._record.rows.get("0")
        self._state.progress = None if main is None else main[8]
        self._state.wait = None
        self._state.finished_at = workflow.now().isoformat()
        workflow.upsert_memo({STATE: self._state})

    def _say(self, status: ExecutionStatus, *updates: SearchAttributeUpdate[Any]) -> None:
        """Tell those who look at the run from outside."""
        if status is not self._status or updates:
            self._status = status
            workflow.upsert_search_attributes([STATUS.value_set(status.value), *updates])
            if status is not ExecutionStatus.PENDING:
                workflow.upsert_memo({STATE: self._state})

    @workflow.signal
    def admitted(self) -> None:
        """It is this run's turn."""
        self._is_admitted = True

    @workflow.update
    def record(self, recorded: Recorded) -> bool:
        """Keep jobs that have ended; whether the session is to end at its next trigger."""
        self._updates += 1
        self._record.put(recorded.rows)
        return self._is_full()

    @record.validator
    def _check_recorded(self, recorded: Recorded) -> None:
        if not self._in_session or recorded.epoch != self._epoch:
            raise exceptions.ApplicationError("Another session has taken over.", type="STALE")

    @workflow.signal
    def resolve(self, answer: Answer) -> None:
        """Take the answer to a wait, if there is none yet."""
        if self._wait is not None and self._wait.place == answer.place and self._answer is None:
            self._answer = answer


def _lost(error: exceptions.ActivityError) -> Outcome:
    """The outcome of a session that ended without telling one: what its last heartbeat told is all there is."""
    cause = error.cause
    if isinstance(cause, exceptions.TimeoutError):
        rows = list(cause.last_heartbeat_details[0]) if cause.last_heartbeat_details else []
        return Outcome(end=End.INTERRUPTED, rows=rows)
    return Outcome(end=End.UNKNOWN)
