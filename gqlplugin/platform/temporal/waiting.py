"""The waits of runs."""

from __future__ import annotations

from datetime import datetime, timedelta

import temporalio.client

from gqlplugin.errors import FailedPreconditionError, NotFoundError
from gqlplugin.execution import ExecutionStatus, PendingWait, WaitFilter, WaitPage, WorkflowExecution
from gqlplugin.platform.temporal.calls import answering
from gqlplugin.platform.temporal.describing import Describing
from gqlplugin.platform.temporal.history import History
from gqlplugin.platform.temporal.messages import STATE, State
from gqlplugin.platform.temporal.records import job_id, load_moment


class Waiting:
    """Reads where runs wait.

    Args:
        runs: Reads runs.
        history: Reads what they have recorded.
        timeout: For a call.
    """

    def __init__(self, runs: Describing, history: History, timeout: timedelta) -> None:
        self._runs = runs
        self._history = history
        self._timeout = timeout

    async def at(self, found: temporalio.client.WorkflowExecution, run: WorkflowExecution) -> PendingWait:
        """Where a run waits.

        Raises:
            FailedPreconditionError: It does not.
        """
        async with answering(self._timeout):
            state = await found.memo_value(STATE, default=None, type_hint=State)
        if state is None or (wait := state.wait) is None:
            raise FailedPreconditionError(f"Run {run.id!r} does not wait.")
        payload = wait.payload
        if payload is None:
            payload = (await self._history.record(found)).rows[wait.place][4]
        return PendingWait(
            execution=run,
            name=wait.name,
            payload=payload,
            job_id=job_id(run.id, wait.place),
            since=datetime.fromisoformat(wait.since),
            expires_at=load_moment(wait.expires_at),
        )

    async def of_run(self, where: WaitFilter) -> WaitPage:
        """The wait of the run that a filter names, if it waits and fits the rest."""
        try:
            found, run = await self._runs.get(where.run_id or "")
        except NotFoundError:
            return WaitPage(waits=[], cursors=[], has_next=False)
        if (
            run.status is not ExecutionStatus.WAITING
            or where.workflow_name not in (None, run.workflow_name)
            or where.caller_id not in (None, run.caller.id)
        ):
            return WaitPage(waits=[], cursors=[], has_next=False)
        waits = [wait for wait in [await self.at(found, run)] if where.name in (None, wait.name)]
        return WaitPage(waits=waits, cursors=[wait.job_id for wait in waits], has_next=False)
