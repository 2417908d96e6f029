"""What Temporal tells of a run, as gqlplugin's own records."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import temporalio.client
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.converter import DataConverter

from gqlplugin.errors import FailedPreconditionError, NotFoundError
from gqlplugin.execution import ExecutionError, ExecutionStatus, WorkflowExecution
from gqlplugin.identity import load_invoker, load_user
from gqlplugin.platform.replay import MAIN
from gqlplugin.platform.temporal.calls import answering
from gqlplugin.platform.temporal.messages import FACTS, RUN_JOBS, STATE, STATUS, Facts, Start, State
from gqlplugin.platform.temporal.records import Row, load_error, load_moment, load_progress

_ENDED = {
    WorkflowExecutionStatus.COMPLETED: ExecutionStatus.SUCCESS,
    WorkflowExecutionStatus.FAILED: ExecutionStatus.FAILED,
    WorkflowExecutionStatus.TIMED_OUT: ExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: ExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED: ExecutionStatus.CANCELED,
}
_LOST = ExecutionError("JOB_FAILED", "The run was ended by the workflow platform.")


class Describing:
    """Reads runs, by what Temporal describes their workflows as.

    Args:
        client: Calls the service.
        task_queue: Whose runs.
        timeout: For a call.
    """

    def __init__(self, client: Client, task_queue: str, timeout: timedelta) -> None:
        self._client = client
        self._task_queue = task_queue
        self._timeout = timeout

    async def find(self, run_id: str) -> WorkflowExecutionDescription:
        """The workflow of a run.

        Raises:
            NotFoundError: There is no such run.
        """
        if not _is_uuid(run_id):
            raise NotFoundError(f"There is no run {run_id!r}.")
        try:
            async with answering(self._timeout):
                found = await self._client.get_workflow_handle(run_id).describe()
        except NotFoundError:
            raise NotFoundError(f"There is no run {run_id!r}.") from None
        if found.task_queue != self._task_queue:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return found

    async def get(self, run_id: str) -> tuple[WorkflowExecutionDescription, WorkflowExecution]:
        """A run, and its workflow.

        Raises:
            NotFoundError: There is no such run.
        """
        found = await self.find(run_id)
        run = await self.of(found)
        if not run.status.is_final and (main := main_row(await live_rows(found, self._client.data_converter))):
            run.progress = load_progress(main[8])
        return found, run

    async def look_at(self, run_id: str) -> tuple[WorkflowExecution, object]:
        """A run, and what is another one when one of its jobs has changed.

        Raises:
            NotFoundError: There is no such run.
        """
        found, run = await self.get(run_id)
        return run, (found.history_length, found.run_id, await live_rows(found, self._client.data_converter))

    async def of(self, found: temporalio.client.WorkflowExecution) -> WorkflowExecution:
        """The run that a workflow is.

        Raises:
            FailedPreconditionError: It is no run.
        """
        async with answering(self._timeout):
            facts = await found.memo_value(FACTS, default=None, type_hint=Facts)
            state = await found.memo_value(STATE, default=None, type_hint=State) or State()
        if facts is None:
            raise FailedPreconditionError(f"Workflow {found.id!r} is no run of gqlplugin's.")
        status = status_of(found)
        is_success = status is ExecutionStatus.SUCCESS
        error = load_error(state.error)
        return WorkflowExecution(
            id=found.id,
            workflow_name=found.workflow_type,
            status=status,
            input=await self._input_of(found) if facts.input is None else facts.input,
            created_at=datetime.fromisoformat(facts.created_at),
            caller=load_user(facts.caller),
            invoker=load_invoker(facts.invoker),
            output=await self._output_of(found) if is_success and state.output is None else state.output,
            error=error or (_LOST if status is ExecutionStatus.FAILED else None),
            progress=load_progress(state.progress),
            attempt=state.attempt,
            depth=facts.depth,
            started_at=load_moment(state.started_at),
            finished_at=found.close_time if status.is_final else None,
            trace=facts.trace,
        )

    async def _input_of(self, found: temporalio.client.WorkflowExecution) -> str:
        handle = self._client.get_workflow_handle(found.id, run_id=found.run_id)
        async with answering(self._timeout):
            async for event in handle.fetch_history_events(page_size=1):
                started = event.workflow_execution_started_event_attributes
                [start, *_] = await self._client.data_converter.decode(list(started.input.payloads), [Start])
                return str(start.input)
        raise FailedPreconditionError(f"Run {found.id!r} has no history.")

    async def _output_of(self, found: temporalio.client.WorkflowExecution) -> str:
        handle = self._client.get_workflow_handle(found.id, run_id=found.run_id, result_type=str)
        async with answering(self._timeout):
            return str(await handle.result(follow_runs=False))


def status_of(found: temporalio.client.WorkflowExecution) -> ExecutionStatus:
    """The status of the run that a workflow is."""
    if found.status in _ENDED:
        return _ENDED[found.status]
    return ExecutionStatus(found.typed_search_attributes.get(STATUS, ExecutionStatus.PENDING.value))


async def live_rows(found: WorkflowExecutionDescription, converter: DataConverter) -> list[Row]:
    """The jobs that are running, as the process that runs them told last."""
    for activity in found.raw_description.pending_activities:
        if activity.activity_type.name == RUN_JOBS and activity.heartbeat_details.payloads:
            [rows] = await converter.decode(list(activity.heartbeat_details.payloads), [list[Any]])
            return list(rows)
    return []


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def main_row(rows: list[Row]) -> Row | None:
    """The main job's row, if it is there."""
    return next((row for row in rows if row[0] == MAIN), None)
