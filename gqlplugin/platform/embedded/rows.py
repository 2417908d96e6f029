"""Records as rows of the journal and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gqlplugin.errors import plain_text
from gqlplugin.identity import dump_invoker, dump_user, load_invoker, load_user
from gqlplugin.runs import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    Progress,
    WorkflowExecution,
)
from gqlplugin.telemetry import dump_trace, load_trace

Row = tuple[Any, ...]

RUN_COLUMNS = (
    "id, workflow_name, status, caller_id, caller, invoker, input, output, error, attempt, depth, due_at, "
    "created_at, started_at, finished_at, trace"
)
STATE_COLUMNS = "id, status, output, error, attempt, due_at, waits_since, started_at, finished_at"
JOB_COLUMNS = "run_id, place, name, stacked_name, status, input, result, error, logs, progress, started_at, finished_at"

AT_ONCE = 0
"""When a run is due that waits for no time: it must not wait when the clock is set back."""

NOT_READ = 0
"""In place of a text that was not read: a number, which such a column never has."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """A moment as the journal keeps it."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """A moment from how the journal keeps it."""
    return _EPOCH + timedelta(microseconds=value)


def run_row(run: WorkflowExecution, *, due_at: int | None) -> Row:
    """A run in the order of `RUN_COLUMNS`."""
    return (
        run.id,
        run.workflow_name,
        run.status.value,
        run.caller.id,
        dump_user(run.caller),
        dump_invoker(run.invoker),
        run.input,
        run.output,
        dump_error(run.error),
        run.attempt,
        run.depth,
        due_at,
        to_microseconds(run.created_at),
        _optional(run.started_at),
        _optional(run.finished_at),
        dump_trace(run.trace),
    )


def state_row(
    run: WorkflowExecution,
    status: ExecutionStatus,
    *,
    attempt: int | None = None,
    output: str | None = None,
    error: ExecutionError | None = None,
    waits_since: datetime | None = None,
    wait: timedelta | None = None,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
) -> Row:
    """What changes of a run, in the order of `STATE_COLUMNS`; its attempt and its first start stay by themselves.

    A run that waits for a time has both `waits_since` and `wait`.
    """
    due_at = None if waits_since is None or wait is None else waits_since + wait
    return (
        run.id,
        status.value,
        output,
        dump_error(error),
        run.attempt if attempt is None else attempt,
        _optional(due_at),
        None if due_at is None else _optional(waits_since),
        _optional(run.started_at or started_at),
        _optional(finished_at),
    )


def status_in(row: Row) -> ExecutionStatus:
    """The status in a row in the order of `STATE_COLUMNS`."""
    return ExecutionStatus(row[1])


def to_run(row: Sequence[Any], progress: str | None) -> WorkflowExecution:
    """A run from a row in the order of `RUN_COLUMNS`, and the progress of its main job."""
    run = WorkflowExecution(
        id=row[0],
        workflow_name=row[1],
        status=ExecutionStatus(row[2]),
        caller=load_user(row[4]),
        invoker=load_invoker(row[5]),
        input=row[6],
        output=row[7],
        error=_load_error(row[8]),
        progress=_load_progress(progress),
        attempt=row[9],
        depth=row[10],
        created_at=from_microseconds(row[12]),
        started_at=_optional_moment(row[13]),
        finished_at=_optional_moment(row[14]),
        trace=load_trace(row[15]),
    )
    if NOT_READ in row[6:8]:
        run.left_out = _left_out(input=row[6], output=row[7])
        run.input = "null" if "input" in run.left_out else run.input
        run.output = None if "output" in run.left_out else run.output
    return run


def job_row(job: JobExecution) -> Row:
    """A job in the order of `JOB_COLUMNS`."""
    return (
        job.run_id,
        job.place,
        job.name,
        job.stacked_name,
        job.status.value,
        job.input,
        job.result,
        dump_error(job.error),
        _dump(job.logs) if job.logs else "[]",
        _dump([job.progress.fraction, job.progress.message]) if job.progress else None,
        to_microseconds(job.started_at),
        _optional(job.finished_at),
    )


def to_job(row: Sequence[Any]) -> JobExecution:
    """A job from a row in the order of `JOB_COLUMNS`."""
    left_out = _left_out(input=row[5], result=row[6], logs=row[8]) if NOT_READ in row[5:9] else frozenset()
    return JobExecution(
        run_id=row[0],
        place=row[1],
        name=row[2],
        stacked_name=row[3],
        status=JobStatus(row[4]),
        input="null" if "input" in left_out else row[5],
        result=None if "result" in left_out else row[6],
        error=_load_error(row[7]),
        logs=() if "logs" in left_out else tuple(map(plain_text, json.loads(row[8]))),
        progress=_load_progress(row[9]),
        started_at=from_microseconds(row[10]),
        finished_at=_optional_moment(row[11]),
        left_out=left_out,
    )


def _left_out(**columns: object) -> frozenset[str]:
    return frozenset(name for name, value in columns.items() if value == NOT_READ)


def _optional(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _optional_moment(value: int | None) -> datetime | None:
    return None if value is None else from_microseconds(value)


def _dump(value: object) -> str:
    """JSON text in ASCII: a lone surrogate in a message or a log line must not keep a row from being written."""
    return json.dumps(value, separators=(",", ":"))


def dump_error(error: ExecutionError | None) -> str | None:
    """An error as the journal keeps it."""
    if error is None:
        return None
    return _dump([error.code, error.message, error.detail, error.may_retry, error.retry_after])


def _load_error(text: str | None) -> ExecutionError | None:
    return None if text is None else ExecutionError(*json.loads(text))


def _load_progress(text: str | None) -> Progress | None:
    return None if text is None else Progress(*json.loads(text))
