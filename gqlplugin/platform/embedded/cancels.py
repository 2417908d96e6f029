"""Ending runs before their end.

A run that is not RUNNING is ended in one transaction. For one that is, or may have been picked up by now, a request is
left, which the process that executes the file heeds: at once if it is the same, else when it notices.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.execution import ExecutionStatus, JobStatus, WorkflowExecution
from gqlplugin.platform.embedded.reader import existing_run, find_run
from gqlplugin.platform.embedded.rows import to_microseconds


def cancel(connection: sqlite3.Connection, run_id: str, *, is_active: bool, now: datetime) -> WorkflowExecution | None:
    """Cancel a run; it is returned when that ends it at once.

    Args:
        connection: The writer's.
        run_id: The run.
        is_active: Whether a task of this process executes it; the file may not say so yet.
        now: When it ends, if it does at once.

    Raises:
        NotFoundError: There is no such run.
        FailedPreconditionError: It has ended.
    """
    run = existing_run(connection, run_id)
    if run.status.is_final:
        raise FailedPreconditionError(f"Run {run_id!r} is {run.status}; only a run that has not ended can be canceled.")
    if run.status in (ExecutionStatus.PENDING, ExecutionStatus.RUNNING):  # another process may execute what is PENDING
        connection.execute("INSERT OR IGNORE INTO cancel_request (run_id) VALUES (?)", (run_id,))
    runs_here = is_active and run.status is ExecutionStatus.PENDING
    if run.status is not ExecutionStatus.RUNNING and not runs_here:
        end_canceled(connection, run_id, now)
        return run
    return None


def end_canceled(connection: sqlite3.Connection, run_id: str, now: datetime) -> None:
    """End a run that nobody executes, with the jobs and waits that it left unfinished."""
    connection.execute(
        "UPDATE run SET status = ?, error = NULL, due_at = NULL, waits_since = NULL, "
        "finished_at = coalesce(finished_at, ?) WHERE id = ?",
        (ExecutionStatus.CANCELED.value, to_microseconds(now), run_id),
    )
    connection.execute(
        "UPDATE job SET status = ?, finished_at = ? WHERE run_id = ? AND status IN (?, ?)",
        (JobStatus.CANCELED.value, to_microseconds(now), run_id, JobStatus.RUNNING.value, JobStatus.WAITING.value),
    )


def find_cancels(connection: sqlite3.Connection) -> list[str]:
    """The runs that are to stop."""
    return [row[0] for row in connection.execute("SELECT run_id FROM cancel_request")]


def settle_cancels(
    connection: sqlite3.Connection, run_ids: Collection[str], now: datetime
) -> Sequence[WorkflowExecution]:
    """End runs that are to stop, and forget the requests; those that had not ended.

    Args:
        connection: The writer's.
        run_ids: Runs that no task executes or will begin to. The requests of others are kept: a run that a task
            executes must stop even if this process dies before that.
        now: When they end.
    """
    ended = []
    for run_id in find_cancels(connection):
        if run_id not in run_ids:
            continue
        run = find_run(connection, run_id)
        if run is not None and (run.status is ExecutionStatus.CANCELED or not run.status.is_final):
            end_canceled(connection, run_id, now)
            if not run.status.is_final:
                ended.append(run)
        connection.execute("DELETE FROM cancel_request WHERE run_id = ?", (run_id,))
    return ended
