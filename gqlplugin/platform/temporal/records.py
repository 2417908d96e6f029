"""The jobs of a run as Temporal keeps them: rows of JSON values, and all of them together as one text."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from gqlplugin.execution import ExecutionError, JobExecution, JobStatus, Progress
from gqlplugin.platform.record import to_run_again

Row = list[Any]
"""A job: place, name, stacked name, status, input, result, error, logs, progress, started at, finished at."""

MAX_MESSAGE_BYTES = 1_900_000
"""How much one message may carry; Temporal refuses what is above 2 MB."""


def row_of(job: JobExecution) -> Row:
    """A job as a row."""
    return [
        job.place,
        job.name,
        job.stacked_name,
        job.status.value,
        job.input,
        job.result,
        dump_error(job.error),
        list(job.logs),
        dump_progress(job.progress),
        job.started_at.isoformat(),
        dump_moment(job.finished_at),
    ]


def job_of(run_id: str, row: Row) -> JobExecution:
    """The job that a row is of."""
    return JobExecution(
        run_id=run_id,
        place=row[0],
        name=row[1],
        stacked_name=row[2],
        status=JobStatus(row[3]),
        input=row[4],
        result=row[5],
        error=load_error(row[6]),
        logs=tuple(row[7]),
        progress=load_progress(row[8]),
        started_at=datetime.fromisoformat(row[9]),
        finished_at=load_moment(row[10]),
        given_id=job_id(run_id, row[0]),
    )


def job_id(run_id: str, place: str) -> str:
    """The ID of a job: it tells the run, so that no index is needed."""
    return f"{run_id}:{place}"


def run_of_job(job_id: str) -> str:
    """The run that a job's ID tells."""
    return job_id.rpartition(":")[0]


def settled(
    row: Row, status: JobStatus, now: datetime, *, result: str | None = None, error: ExecutionError | None = None
) -> Row:
    """A row of a job that has got its outcome."""
    return row_of(replace(job_of("", row), status=status, result=result, error=error, finished_at=now))


class RecordTooLargeError(Exception):
    """What a run has recorded is more than one message to Temporal may carry."""


class Record:
    """The jobs of a run, by place.

    Args:
        rows: What it begins with.

    Attributes:
        rows: By place.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: dict[str, Row] = {row[0]: row for row in rows}

    def put(self, rows: Iterable[Row]) -> None:
        """Keep rows, in place of the earlier ones at the same places."""
        for row in rows:
            self.rows[row[0]] = row

    def forget_failures(self) -> None:
        """Drop what is to run again in another try."""
        for place in to_run_again(self.jobs("").values()):
            del self.rows[place]

    def jobs(self, run_id: str) -> Mapping[str, JobExecution]:
        """The jobs of a run by place."""
        return {place: job_of(run_id, row) for place, row in self.rows.items()}

    def dump(self, *, beside: str) -> bytes:
        """All of it, compressed; without the logs where it is too large with them.

        Args:
            beside: A JSON text that the same message carries.

        Raises:
            RecordTooLargeError: It is too large without them too.
        """
        room = MAX_MESSAGE_BYTES - size_of(beside)
        text = _compressed(self.rows.values())
        if len(text) > room:
            text = _compressed([*row[:7], [], *row[8:]] for row in self.rows.values())
        if len(text) > room:
            raise RecordTooLargeError
        return text

    @classmethod
    def load(cls, text: bytes) -> Record:
        """The record that `dump` made a text of; an empty text is an empty record."""
        return cls(json.loads(zlib.decompress(text)) if text else ())


def shortened(rows: list[Row]) -> list[Row]:
    """Rows of jobs that go on, without their inputs and logs where they are too large for a message with them."""
    if size_of_rows(rows) <= MAX_MESSAGE_BYTES // 2:
        return rows
    return [[*row[:4], "", *row[5:7], [], *row[8:]] for row in rows]


def size_of_rows(rows: Iterable[Row]) -> int:
    """How much rows add to a message."""
    return sum(size_of(text) for row in rows for text in (row[4], row[5] or "", *row[7]))


def size_of(text: str) -> int:
    """How much a text adds to a message, which is JSON itself."""
    return len(json.dumps(text))


def _compressed(rows: Iterable[Row]) -> bytes:
    rows = list(rows)
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 1) if rows else b""


def dump_error(error: ExecutionError | None) -> list[Any] | None:
    """An error as JSON values."""
    return None if error is None else [error.code, error.message, error.detail, error.may_retry, error.retry_after]


def load_error(values: list[Any] | None) -> ExecutionError | None:
    """The error that `dump_error` made values of."""
    return None if values is None else ExecutionError(*values)


def dump_progress(progress: Progress | None) -> list[Any] | None:
    """A progress as JSON values."""
    return None if progress is None else [progress.fraction, progress.message]


def load_progress(values: list[Any] | None) -> Progress | None:
    """The progress that `dump_progress` made values of."""
    return None if values is None else Progress(*values)


def dump_moment(moment: datetime | None) -> str | None:
    """A moment as text."""
    return None if moment is None else moment.isoformat()


def load_moment(text: str | None) -> datetime | None:
    """The moment that `dump_moment` made a text of."""
    return None if text is None else datetime.fromisoformat(text)
