"""Which runs are to be picked up, and what is known of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gqlplugin.errors import FailedPreconditionError, WaitTimedOutError
from gqlplugin.execution import ExecutionError, ExecutionStatus, JobExecution, JobStatus, WorkflowExecution
from gqlplugin.platform.embedded.reader import existing_run, find_jobs, find_run
from gqlplugin.platform.embedded.rows import AT_ONCE, from_microseconds, job_row, to_microseconds
from gqlplugin.platform.embedded.writer import put_job
from gqlplugin.platform.record import to_run_again
from gqlplugin.platform.replay import MAIN

_TOLERANCE = timedelta(seconds=1)  # a wait may begin after the time was looked up


@dataclass(frozen=True, slots=True)
class DueRun:
    """A run and its record, by place."""

    run: WorkflowExecution
    record: Mapping[str, JobExecution]


@dataclass(frozen=True, slots=True)
class Due:
    """The runs to pick up now.

    Attributes:
        behind: Workflows that have more of them than there was room for.
        next_at: When the next one comes due, if any is waiting for a time.
        clock_was_ahead: Whether a wait for a time began later than now; see `restart_waits`.
    """

    runs: list[DueRun]
    behind: frozenset[str]
    next_at: datetime | None
    clock_was_ahead: bool


def find_due(
    connection: sqlite3.Connection,
    *,
    room: Mapping[str, int],
    skip: Collection[str],
    stalled: Collection[str],
    now: datetime,
) -> Due:
    """The runs to pick up, oldest first.

    Args:
        connection: A connection that reads.
        room: How many runs of each workflow there is room for.
        skip: IDs of runs that are active here; the file may not know it yet.
        stalled: IDs of runs to pick up whatever the file says of them.
        now: What counts as due.
    """
    ids: list[str] = list(stalled)
    behind: set[str] = set()
    for name, free in room.items():
        for found, run_id in enumerate(_due_of(connection, name, skip, now)):
            if found == free:
                behind.add(name)
                break
            ids.append(run_id)
    jobs = find_jobs(connection, ids)
    runs = [run for run in (find_run(connection, run_id) for run_id in sorted(set(ids))) if run is not None]
    due = [DueRun(run, {job.place: job for job in jobs[run.id]}) for run in runs if not run.status.is_final]
    return Due(due, frozenset(behind), _next_due(connection, room, now), _clock_was_ahead(connection, now))


def _due_of(connection: sqlite3.Connection, name: str, skip: Collection[str], now: datetime) -> list[str]:
    limit = len(skip) + 100
    at_once = connection.execute(
        "SELECT seq, id FROM run WHERE workflow_name = ? AND due_at = ? ORDER BY seq LIMIT ?", (name, AT_ONCE, limit)
    ).fetchall()
    waited = connection.execute(
        "SELECT seq, id FROM run WHERE workflow_name = ? AND due_at > ? AND due_at <= ? ORDER BY due_at LIMIT ?",
        (name, AT_ONCE, to_microseconds(now), limit),
    ).fetchall()
    return [run_id for _, run_id in sorted(at_once + waited) if run_id not in skip]


def _next_due(connection: sqlite3.Connection, names: Collection[str], now: datetime) -> datetime | None:
    query = "SELECT min(due_at) FROM run WHERE workflow_name = ? AND due_at > ?"
    times = [connection.execute(query, (name, to_microseconds(now))).fetchone()[0] for name in names]
    return min((from_microseconds(value) for value in times if value is not None), default=None)


def _clock_was_ahead(connection: sqlite3.Connection, now: datetime) -> bool:
    query = "SELECT 1 FROM run WHERE waits_since > ? LIMIT 1"
    return connection.execute(query, (to_microseconds(now + _TOLERANCE),)).fetchone() is not None


def restart_waits(connection: sqlite3.Connection, now: datetime) -> int:
    """Let the waits for a time that began later than now begin now; how many there were.

    They were written while the clock was ahead. None must last longer than its own length.
    """
    changed = connection.execute(
        "UPDATE run SET due_at = due_at - waits_since + :now, waits_since = :now WHERE waits_since > :now",
        {"now": to_microseconds(now)},
    )
    return changed.rowcount


def recover(connection: sqlite3.Connection) -> int:
    """Make the runs that a dead process left RUNNING due; how many there were."""
    changed = connection.execute("UPDATE run SET due_at = ? WHERE status = ?", (AT_ONCE, ExecutionStatus.RUNNING.value))
    return changed.rowcount


def count_due(connection: sqlite3.Connection) -> Mapping[str, int]:
    """How many runs wait, by workflow."""
    counts = connection.execute(
        "SELECT workflow_name, count(*) FROM run WHERE due_at IS NOT NULL GROUP BY workflow_name"
    )
    return dict(counts.fetchall())


def begin_again(connection: sqlite3.Connection, found: DueRun, now: datetime) -> DueRun | None:
    """Note that a run that failed, was canceled or waited runs again; None when it is no longer due.

    Of a run that ended, the failures that ended it are forgotten; of one that waited in vain, the wait is over.
    """
    run, record = found.run, dict(found.record)
    changed = connection.execute(
        "UPDATE run SET status = ?, error = NULL, due_at = NULL, waits_since = NULL, finished_at = NULL "
        "WHERE id = ? AND status = ?",
        (ExecutionStatus.RUNNING.value, run.id, run.status.value),
    )
    if changed.rowcount == 0:
        return None
    if run.status is ExecutionStatus.WAITING:
        for wait in [job for job in record.values() if job.status is JobStatus.WAITING]:
            record[wait.place] = _expired(wait, now)
            put_job(connection, job_row(record[wait.place]))
    elif (main := record.get(MAIN)) is not None and main.status.is_final:
        for place in to_run_again(record.values()):
            connection.execute("DELETE FROM job WHERE run_id = ? AND place = ?", (run.id, place))
            del record[place]
    return DueRun(run, record)


def _expired(wait: JobExecution, now: datetime) -> JobExecution:
    wait_point = wait.stacked_name.rpartition("/")[2]
    error = ExecutionError(WaitTimedOutError.code, f"Nobody resolved wait point {wait_point!r} in time.")
    return replace(wait, status=JobStatus.FAILED, error=error, finished_at=now)


def resume(connection: sqlite3.Connection, run_id: str) -> None:
    """Make a run that has ended without a result due again.

    Raises:
        NotFoundError: There is no such run.
        FailedPreconditionError: It is neither FAILED nor CANCELED.
    """
    run = existing_run(connection, run_id)
    if not run.status.is_resumable:
        raise FailedPreconditionError(f"Run {run_id!r} is {run.status}; only a FAILED or CANCELED run can be resumed.")
    connection.execute("DELETE FROM cancel_request WHERE run_id = ?", (run_id,))
    connection.execute(
        "UPDATE run SET status = ?, error = NULL, finished_at = NULL, attempt = 0, due_at = ? WHERE id = ?",
        (ExecutionStatus.PENDING_RESUME.value, AT_ONCE, run_id),
    )
