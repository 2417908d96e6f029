"""Resuming, canceling and answering runs on Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from gqlplugin.codec import check_json, is_unicode
from gqlplugin.errors import (
    FailedPreconditionError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformUnavailableError,
)
from gqlplugin.platform.temporal.admission import release
from gqlplugin.platform.temporal.client import answering
from gqlplugin.platform.temporal.interpreter import Interpreter
from gqlplugin.platform.temporal.messages import (
    FACTS,
    STATE,
    Answer,
    Facts,
    NewRun,
    Record,
    RecordTooLargeError,
    Start,
    State,
    caller_mark,
    row_of,
)
from gqlplugin.platform.temporal.reading import Describing, History
from gqlplugin.platform.temporal.starts import Limits
from gqlplugin.platform.temporal.worker import lean
from gqlplugin.runs import ExecutionStatus, WorkflowExecution, find_wait
from gqlplugin.telemetry import count_end


class Steering:
    """Changes what becomes of runs.

    Args:
        client: Calls the service.
        task_queue: Where processes that run jobs look for runs.
        limits: Of the platform.
        runs: Reads runs.
        history: Reads their jobs.
        limit_of: How many runs of a workflow execute at once, as far as is known.
    """

    def __init__(
        self,
        client: Client,
        task_queue: str,
        limits: Limits,
        runs: Describing,
        history: History,
        *,
        limit_of: Callable[[str], int | None],
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._limits = limits
        self._runs = runs
        self._history = history
        self._limit_of = limit_of

    async def resume(self, run_id: str) -> None:
        """Run a failed or canceled run again; see `Platform.resume`."""
        found, run = await self._runs.get(run_id)
        if not run.status.is_resumable:
            raise _not_resumable(run)
        new, record = await self._again(found, run)
        latest, run = await self._runs.get(run_id)
        if latest.run_id != found.run_id:  # somebody else was quicker, and the record may have grown since
            raise _not_resumable(run)
        try:
            async with answering(self._limits.timeout):
                await self._client.start_workflow(
                    new.name,
                    args=[new.start, record],
                    id=run_id,
                    task_queue=self._task_queue,
                    memo=new.memo,
                    search_attributes=new.search_attributes,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                )
        except WorkflowAlreadyStartedError:
            _, run = await self._runs.get(run_id)
            raise _not_resumable(run) from None

    async def _again(self, found: WorkflowExecutionDescription, run: WorkflowExecution) -> tuple[NewRun, bytes]:
        """The run as it goes on: with what it was started with, and with its record but for what ended it."""
        async with answering(self._limits.timeout):
            facts = await found.memo_value(FACTS, type_hint=Facts)
        record = Record(row_of(lean(job)) for job in await self._history.recorded(found, run))
        record.forget_failures()
        start = Start(
            input=run.input,
            heartbeat_seconds=self._limits.heartbeat.total_seconds(),
            limit=self._limit_of(run.workflow_name),
            began_at=None if run.started_at is None else run.started_at.isoformat(),
        )
        new = NewRun(
            run_id=run.id,
            name=run.workflow_name,
            start=start,
            facts=facts,
            caller=caller_mark(run.caller.id),
            status=ExecutionStatus.PENDING_RESUME.value,
        )
        try:
            return new, record.dump(beside=run.input)
        except RecordTooLargeError:
            raise FailedPreconditionError(f"The record of run {run.id!r} is too large to go on from.") from None

    async def cancel(self, run_id: str) -> None:
        """End a run that has not ended; see `Platform.cancel`.

        One that no job runs of is ended by the service itself: nobody need be there to do it.
        """
        found, run = await self._runs.get(run_id)
        if run.status.is_final:
            raise _not_cancelable(run)
        handle = self._client.get_workflow_handle(run_id, run_id=found.run_id)
        try:
            async with answering(self._limits.timeout):
                if run.status is ExecutionStatus.RUNNING:
                    await handle.cancel()
                else:
                    await handle.terminate(reason="Canceled.")
        except NotFoundError:  # it has ended meanwhile
            _, run = await self._runs.get(run_id)
            raise _not_cancelable(run) from None
        if run.status is not ExecutionStatus.RUNNING:
            count_end(run, ExecutionStatus.CANCELED, datetime.now(UTC))
            await self._give_back(found)

    async def _give_back(self, found: WorkflowExecutionDescription) -> None:
        """Give back the place that a concurrency policy may have given to a run; otherwise that is found out later."""
        with suppress(PlatformUnavailableError):
            async with answering(self._limits.timeout):
                await release(self._client, self._task_queue, found.workflow_type, found.id, found.run_id or "")

    async def resolve(self, run_id: str, wait_point: str, result: str, *, job_id: str | None) -> None:
        """Answer a run that waits; see `Platform.resolve`."""
        check_json(result, max_bytes=self._limits.max_arg_bytes)
        if not is_unicode(result):
            raise InvalidInputError("The result holds half a surrogate pair.")
        found, run = await self._runs.get(run_id)
        wait = find_wait(run, await self._history.recorded(found, run), wait_point, job_id)
        answer = Answer(id=str(uuid4()), place=wait.place, result=result)
        handle = self._client.get_workflow_handle_for(Interpreter.run, run_id, run_id=found.run_id)
        taken: str | None = None
        try:
            async with answering(self._limits.timeout):
                await handle.signal(Interpreter.resolve, answer)
        except NotFoundError:
            taken = ""  # the run has ended
        if (taken if taken is not None else await self._taken(handle, answer)) != answer.id:
            found, run = await self._runs.get(run_id)
            find_wait(run, await self._history.recorded(found, run), wait_point, wait.id)
            raise FailedPreconditionError(f"Run {run_id!r} does not wait at {wait_point!r} any longer.")

    async def _taken(self, handle: WorkflowHandle[Interpreter, str | None], answer: Answer) -> str:
        """The ID of the answer that a wait has got; empty when it was over without one.

        An update would tell by itself, but the service lets few of them wait for one workflow at once.

        Raises:
            OutcomeUnknownError: No process that runs jobs has taken one yet; the first will be, once there is one.
        """
        pause = 0.02
        try:
            async with asyncio.timeout(self._limits.timeout.total_seconds()):
                while True:
                    async with answering(self._limits.timeout):
                        found = await handle.describe()
                        state = await found.memo_value(STATE, default=None, type_hint=State) or State()
                    if answer.place in state.answered or found.close_time is not None:
                        return state.answered.get(answer.place, "")
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.25)
        except (TimeoutError, PlatformUnavailableError) as error:
            raise OutcomeUnknownError from error


def _not_resumable(run: WorkflowExecution) -> FailedPreconditionError:
    return FailedPreconditionError(f"Run {run.id!r} is {run.status}; only a FAILED or CANCELED run can be resumed.")


def _not_cancelable(run: WorkflowExecution) -> FailedPreconditionError:
    return FailedPreconditionError(f"Run {run.id!r} is {run.status}; only a run that has not ended can be canceled.")
