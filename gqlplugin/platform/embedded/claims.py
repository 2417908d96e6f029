"""Which runs are due, and what is recorded when one is started or restarted."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gqlplugin.errors import FailedPreconditionError, WaitTimedOutError
from gqlplugin.platform.embedded.reader import existing_run, find_jobs, find_run
from gqlplugin.platform.embedded.rows import AT_ONCE, dump_error, from_microseconds, job_row, to_microseconds
from gqlplugin.platform.embedded.writer import put_job
from gqlplugin.platform.replay import MAIN
from gqlplugin.runs import ExecutionError, ExecutionStatus, JobExecution, JobStatus, WorkflowExecution, to_run_again

_TOLERANCE = timedelta(seconds=1)  # a wait may begin after the time was looked up


@dataclass(frozen=True, slots=True)
class DueRun:
    """A run and its record, by place.

    Attributes:
        may_have_crashed: Whether it may have been running when the process before this one died.
    """

    run: WorkflowExecution
    record: Mapping[str, JobExecution]
    may_have_crashed: bool = False


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
    crashed_up_to: int = 0,
    now: datetime,
) -> Due:
    """The runs to pick up, in the order that they were committed in: IDs have the time in them, which may be wrong.

    Args:
        connection: A connection that reads.
        room: How many runs of each workflow there is room for.
        skip: IDs of runs that are active here; the file may not know it yet.
        crashed_up_to: The row of the last run that may have been running when the process before this one died.
        now: What counts as due.
    """
    ids: list[str] = []
    behind: set[str] = set()
    for name, free in room.items():
        for found, run_id in enumerate(_due_of(connection, name, skip, now)):
            if found == free:
                behind.add(name)
                break
            ids.append(run_id)
    jobs = find_jobs(connection, ids)
    runs = [(seq, find_run(connection, run_id)) for seq, run_id in _in_order(connection, ids)]
    due = [
        DueRun(run, {job.place: job for job in jobs[run.id]}, seq <= crashed_up_to)
        for seq, run in runs
        if run is not None and not run.status.is_final
    ]
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


def _in_order(connection: sqlite3.Connection, ids: Collection[str]) -> list[tuple[int, str]]:
    if not ids:
        return []
    query = "SELECT seq, id FROM run WHERE id IN (SELECT value FROM json_each(?)) ORDER BY seq"
    return connection.execute(query, (json.dumps(list(ids)),)).fetchall()


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


def recover(connection: sqlite3.Connection, now: datetime) -> tuple[int, int]:
    """Make the runs that an earlier process left RUNNING due, and note that this process executes the file.

    Returns:
        How many were left; and, if that process died, the row of the last run that it may have been running. Which of
        the PENDING ones it had begun is not in the file, as that a job is running is written a moment later.
    """
    changed = connection.execute("UPDATE run SET due_at = ? WHERE status = ?", (AT_ONCE, ExecutionStatus.RUNNING.value))
    connection.execute(_FORGET_RECOVERIES)
    connection.execute(_FORGET_EXPLANATIONS, (_UNKNOWN,))
    has_died = connection.execute("DELETE FROM executing").rowcount > 0
    connection.execute("INSERT INTO executing (since) VALUES (?)", (to_microseconds(now),))
    last: int | None = connection.execute("SELECT max(seq) FROM run").fetchone()[0] if has_died else None
    return changed.rowcount, last or 0


_FORGET_RECOVERIES = (
    "DELETE FROM recovery "
    "WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.id = recovery.run_id AND run.finished_at IS NULL)"
)


def note_end(connection: sqlite3.Connection) -> None:
    """Note that this process executes the file no longer: what it leaves unfinished is not its fault."""
    connection.execute("DELETE FROM executing")


def count_recovery(connection: sqlite3.Connection, run: WorkflowExecution, *, limit: int, now: datetime) -> int:
    """Note that a run is begun again because its process died.

    Returns:
        How often that was so without the run getting any further; 0 when it was too often, and the run is FAILED.
    """
    finished = connection.execute(
        "SELECT count(*) FROM job WHERE run_id = ? AND finished_at IS NOT NULL", (run.id,)
    ).fetchone()[0]
    known = connection.execute("SELECT count, finished_jobs FROM recovery WHERE run_id = ?", (run.id,)).fetchone()
    count = known[0] + 1 if known is not None and known[1] == finished else 1
    if count <= limit:
        connection.execute(
            "INSERT OR REPLACE INTO recovery (run_id, count, finished_jobs) VALUES (?, ?, ?)", (run.id, count, finished)
        )
        return count
    error = dump_error(
        ExecutionError(
            "PROCESS_DIED",
            f"The process that executed this run died {count} times, and the run got no further: "
            "resume it to try it again.",
            may_retry=False,
        )
    )
    ended = (ExecutionStatus.FAILED.value, error, to_microseconds(now), run.id)
    connection.execute("UPDATE run SET status = ?, error = ?, due_at = NULL, finished_at = ? WHERE id = ?", ended)
    connection.execute(
        "UPDATE job SET status = ?, error = ?, finished_at = ? WHERE run_id = ? AND place = ?", (*ended, MAIN)
    )
    return 0


def explain_unknown(connection: sqlite3.Connection, known: Collection[str]) -> Mapping[str, int]:
    """Record as the error of runs that wait that nobody here knows their workflow; how many are new, by workflow."""
    counts = {
        name: connection.execute(_EXPLAIN, (_UNKNOWN, name)).rowcount
        for (name,) in connection.execute(_WAITING_NAMES).fetchall()
        if name not in known
    }
    return {name: count for name, count in counts.items() if count}


_UNKNOWN = dump_error(
    ExecutionError("UNKNOWN_WORKFLOW", "The run waits, as the app that executes runs here does not have its workflow.")
)
_IDLE = "due_at IS NOT NULL AND status IN ('PENDING', 'PENDING_RESUME', 'RUNNING')"
_EXPLAIN = f"UPDATE run SET error = ? WHERE workflow_name = ? AND error IS NULL AND {_IDLE}"  # noqa: S608 - our own words
_FORGET_EXPLANATIONS = f"UPDATE run SET error = NULL WHERE error = ? AND {_IDLE}"  # noqa: S608 - our own words
# one look into the index for each name, however many runs wait
_WAITING_NAMES = """
    WITH RECURSIVE waiting (name) AS (
        SELECT min(workflow_name) FROM run WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(workflow_name) FROM run WHERE due_at IS NOT NULL AND workflow_name > name)
        FROM waiting WHERE name IS NOT NULL
    )
    SELECT name FROM waiting WHERE name IS NOT NULL
"""


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
    connection.execute("DELETE FROM recovery WHERE run_id = ?", (run.id,))  # it got on, or somebody wants it to
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


def count_queued(connection: sqlite3.Connection, *, active: Collection[str], now: datetime) -> Mapping[str, int]:
    """How many runs are due and have not begun, by workflow."""
    due_at = to_microseconds(now)
    due = Counter(dict(connection.execute(f"{_COUNT} GROUP BY workflow_name", (due_at,)).fetchall()))
    # subtracted, so that the many are counted along their index
    begun = connection.execute(f"{_COUNT} AND {_AMONG} GROUP BY workflow_name", (due_at, json.dumps(list(active))))
    due.subtract(dict(begun.fetchall()))
    return due


_COUNT = "SELECT workflow_name, count(*) FROM run WHERE due_at <= ?"
_AMONG = "id IN (SELECT value FROM json_each(?))"
