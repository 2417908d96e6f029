"""The jobs of a run, from the history that Temporal keeps of it: no process that runs jobs is needed to read them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import temporalio.client
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.converter import DataConverter

from gqlplugin.execution import ExecutionStatus, JobExecution, JobStatus, WorkflowExecution, by_place
from gqlplugin.platform.record import shown
from gqlplugin.platform.replay import MAIN
from gqlplugin.platform.temporal.calls import answering
from gqlplugin.platform.temporal.describing import live_rows
from gqlplugin.platform.temporal.messages import RUN_JOBS, Outcome, Recorded
from gqlplugin.platform.temporal.records import Record, Row


class History:
    """Reads what runs have recorded.

    Args:
        client: Calls the service.
        timeout: For a call.
    """

    def __init__(self, client: Client, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout

    async def jobs(self, found: WorkflowExecutionDescription, run: WorkflowExecution) -> list[JobExecution]:
        """The jobs of a run as a caller sees them."""
        return shown(await self.recorded(found, run))

    async def recorded(self, found: WorkflowExecutionDescription, run: WorkflowExecution) -> list[JobExecution]:
        """What is recorded of a run, in the order it was triggered, with what is running now."""
        record = await self.record(found)
        record.put(row for row in await live_rows(found, self._client.data_converter) if _is_news(record, row))
        jobs = sorted(record.jobs(run.id).values(), key=by_place)
        return [_left(_whole(job, run), run) for job in jobs]

    async def record(self, found: temporalio.client.WorkflowExecution) -> Record:
        """What the history of a run adds up to."""
        handle = self._client.get_workflow_handle(found.id, run_id=found.run_id)
        folded = _Folded(self._client.data_converter)
        async with answering(self._timeout):
            async for event in handle.fetch_history_events():
                await folded.add(event)
        return await folded.record()


class _Folded:
    """What the events of a history add up to: the record that the last session began with, and what came after."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._base: Payload | None = None
        self._rows: list[Row] = []
        self._sessions: set[int] = set()

    async def add(self, event: HistoryEvent) -> None:
        """Heed the next event."""
        if event.HasField("workflow_execution_started_event_attributes"):
            self._begin(event.workflow_execution_started_event_attributes.input)
        elif event.HasField("activity_task_scheduled_event_attributes"):
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == RUN_JOBS:
                self._sessions.add(event.event_id)
                self._begin(scheduled.input)
        elif event.HasField("activity_task_completed_event_attributes"):
            completed = event.activity_task_completed_event_attributes
            if completed.scheduled_event_id in self._sessions:
                self._rows += (await self._read(completed.result, Outcome)).rows
        elif event.HasField("workflow_execution_update_accepted_event_attributes"):
            update = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
            if update.name == "record":
                self._rows += (await self._read(update.args, Recorded)).rows

    def _begin(self, input: Payloads) -> None:
        self._base, self._rows = input.payloads[1], []

    async def _read(self, payloads: Payloads, type_: type) -> Any:
        [value] = await self._converter.decode(list(payloads.payloads), [type_])
        return value

    async def record(self) -> Record:
        """The record."""
        text = b"" if self._base is None else (await self._converter.decode([self._base], [bytes]))[0]
        record = Record.load(text)
        record.put(self._rows)
        return record


def _is_news(record: Record, row: Row) -> bool:
    """Whether a row of a running job is not behind its record: the heartbeat may be older."""
    known = record.rows.get(row[0])
    return known is None or not JobStatus(known[3]).is_final


def _whole(job: JobExecution, run: WorkflowExecution) -> JobExecution:
    """A job with what only the run keeps of its main job."""
    return job if job.place != MAIN else replace(job, input=run.input, result=run.output)


def _left(job: JobExecution, run: WorkflowExecution) -> JobExecution:
    """A job that was left unfinished when its run was canceled."""
    if run.status is not ExecutionStatus.CANCELED or job.status.is_final:
        return job
    return replace(job, status=JobStatus.CANCELED, finished_at=run.finished_at)
