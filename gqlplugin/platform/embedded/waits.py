"""Runs that wait at a wait point: listing them, and answering them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gqlplugin.codec import is_unicode
from gqlplugin.execution import (
    ExecutionStatus,
    JobStatus,
    PendingWait,
    WaitFilter,
    WaitPage,
)
from gqlplugin.platform.embedded.reader import (
    admitting,
    columns_of,
    existing_run,
    find_jobs,
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
from gqlplugin.platform.record import find_wait, wait_name

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
