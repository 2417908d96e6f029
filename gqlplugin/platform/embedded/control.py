"""Canceling runs, and answering those that wait."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from gqlplugin.codec import is_unicode
from gqlplugin.errors import FailedPreconditionError
from gqlplugin.platform.embedded.reader import (
    admitting,
    columns_of,
    existing_run,
    find_jobs,
    find_run,
    format_cursor,
    parse_cursor,
    select_run,
)
from gqlplugin.platform.embedded.rows import (
    AT_ONCE,
    JOB_COLUMNS,
    RUN_COLUMNS,
    from_microseconds,
    to_job,
    to_microseconds,
    to_run,
)
from gqlplugin.runs import (
    ExecutionStatus,
    JobStatus,
    PendingWait,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
    find_wait,
    wait_name,
)


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


_DUE_AT = RUN_COLUMNS.split(", ").index("due_at")
_RUN_WIDTH = len(RUN_COLUMNS.split(", "))
_TEXTS = {"input": "payload", "result": "result", "logs": "logs"}


def resolve(
    connection: sqlite3.Connection, *, run_id: str, wait_point: str, result: str, job_id: str | None, now: datetime
) -> None:
    """Answer a run that waits, and make it due.

    Raises:
        NotFoundError: There is no such run.
        FailedPreconditionError: It does not wait there, or no longer.
    """
    run = existing_run(connection, run_id)
    wait = find_wait(run, find_jobs(connection, [run.id])[run.id], wait_point, job_id)
    connection.execute(
        "UPDATE job SET status = ?, result = ?, finished_at = ? WHERE run_id = ? AND place = ?",
        (JobStatus.SUCCESS.value, result, to_microseconds(now), run_id, wait.place),
    )
    connection.execute(
        "UPDATE run SET status = ?, due_at = ?, waits_since = NULL WHERE id = ?",
        (ExecutionStatus.PENDING_RESUME.value, AT_ONCE, run_id),
    )


def find_waits(connection: sqlite3.Connection, where: WaitFilter, first: int, after: str | None) -> WaitPage:
    """A page of waits, the longest one first."""
    given = {
        "wait.name": None if where.name is None else wait_name(where.name),
        "run.id": where.run_id,
        "run.workflow_name": where.workflow_name,
        "run.caller_id": where.caller_id,
    }
    conditions = {column: value for column, value in given.items() if value is not None}
    position = 0 if after is None else parse_cursor(after)
    if not all(map(is_unicode, conditions.values())):
        return WaitPage(waits=[], cursors=[], has_next=False)
    admitting(connection, where.values)
    columns = columns_of("wait", JOB_COLUMNS, _TEXTS, where.values)
    select = (
        f"{select_run(where.values, more=f'{columns}, wait.rowid, ')} "
        "JOIN job AS wait ON wait.run_id = run.id WHERE wait.status = 'WAITING' AND wait.rowid > ?"
    )
    query = "".join([select, *(f" AND {column} = ?" for column in conditions), " ORDER BY wait.rowid LIMIT ?"])
    rows = connection.execute(query, (position, *conditions.values(), first + 1)).fetchall()
    shown = rows[:first]
    return WaitPage(
        waits=[_pending(row) for row in shown],
        cursors=[format_cursor(row[-3]) for row in shown],
        has_next=len(rows) > first,
    )


def _pending(row: Sequence[Any]) -> PendingWait:
    wait = to_job(row[_RUN_WIDTH:-3])
    due_at = row[_DUE_AT]
    return PendingWait(
        execution=to_run(row, row[-2]),
        name=wait.name.removeprefix(wait_name("")),
        payload=wait.input,
        job_id=wait.id,
        since=wait.started_at,
        expires_at=None if due_at is None else from_microseconds(due_at),
        left_out=frozenset({"payload"}) if "input" in wait.left_out else frozenset(),
    )
