"""What the processes of an app exchange through Temporal: arguments, results, memos, and records of jobs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from gqlplugin.runs import ExecutionError, ExecutionStatus, JobExecution, JobStatus, Progress, to_run_again

STATUS = SearchAttributeKey.for_keyword("GqlpluginStatus")
"""The status of a run that has not ended."""

CALLER = SearchAttributeKey.for_keyword("GqlpluginCaller")
"""Who started a run, as `caller_mark` says: to find runs, not to tell who it was."""

CREATED_AT = SearchAttributeKey.for_datetime("GqlpluginCreatedAt")
"""When a run was started first; only runs have it."""

WAIT_POINT = SearchAttributeKey.for_keyword("GqlpluginWaitPoint")
"""What a run waits at; unset again when it goes on."""

WAITING_SINCE = SearchAttributeKey.for_datetime("GqlpluginWaitingSince")
"""Since when."""

SEARCH_ATTRIBUTES = (STATUS, CALLER, CREATED_AT, WAIT_POINT, WAITING_SINCE)

FACTS = "gqlplugin.facts"
"""The memo that says what a run was started with, a `Facts`."""

STATE = "gqlplugin.state"
"""The memo that says how far it is, a `State`."""

RUN_JOBS = "run-jobs"
"""The activity that runs the jobs of a run."""

ADMISSION = "gqlplugin-admission"
"""The workflow that admits runs of a workflow that has a concurrency policy."""

BATCH = "gqlplugin-batch"
"""The workflow that starts several runs."""

FIRE = "gqlplugin-fire"
"""The workflow that starts the run of a time of a schedule."""

MAX_MEMO_CHARACTERS = 4096
"""Up to which length an input, an output or a payload is also in the memo, where listings find it."""


MOST_RECORDED = 1500
"""How many jobs a history takes: each is an update, of which Temporal allows 2000."""


@dataclass(kw_only=True)
class Facts:
    """What a run was started with. Set at its start and never changed.

    Attributes:
        caller, invoker: As `dump_user` and `dump_invoker` write them.
        created_at: ISO 8601.
        input: JSON text; None where it is too long for a memo.
        fingerprint: What tells its request from others.
        trace: Of which trace it is part, as W3C headers.
    """

    caller: str
    invoker: str | None
    created_at: str
    fingerprint: str
    depth: int = 0
    input: str | None = None
    trace: dict[str, str] | None = None


@dataclass(kw_only=True)
class Wait:
    """Where a run waits.

    Attributes:
        place: The place of the wait in the record.
        name: The wait point.
        payload: JSON text; None where it is too long for a memo.
        since, expires_at: ISO 8601.
        expired: The message of the error when nobody resolves it in time.
    """

    place: str
    name: str
    payload: str | None
    since: str
    expires_at: str | None = None
    expired: str = ""


@dataclass(kw_only=True)
class State:
    """How far a run is, beside what Temporal tells of it.

    Attributes:
        output: JSON text; None also where it is too long for a memo: it is the workflow's result.
        started_at, finished_at: ISO 8601.
        answered: Which answers the last waits have got, by place; an empty one is none in time.
    """

    attempt: int = 0
    output: str | None = None
    error: list[Any] | None = None
    progress: list[Any] | None = None
    started_at: str | None = None
    finished_at: str | None = None
    wait: Wait | None = None
    answered: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Start:
    """The argument of the workflow of a run. The record that it begins with, compressed, is the second argument.

    Attributes:
        input: JSON text.
        heartbeat_seconds: After which silence a process that runs jobs counts as dead.
        limit: How many runs of the workflow execute at once, as far as the starting process knows.
        limit_at: When it was told that, as ISO 8601; by default when it starts.
        attempt: Of a run that goes on in a new history.
        began_at: When its first job began.
        most_recorded: How many jobs a history takes before the run goes on in a new one. It is told, as a version that
            took another number could not go on with what an earlier one began.
    """

    input: str
    heartbeat_seconds: float
    limit: int | None = None
    limit_at: str | None = None
    attempt: int = 0
    began_at: str | None = None
    most_recorded: int = field(default_factory=lambda: MOST_RECORDED)


@dataclass(kw_only=True)
class Session:
    """The argument of the activity that runs the jobs of a run from its record, which is the second argument.

    Attributes:
        epoch: Which session of this history it is: what a session that was given up says is not heard.
        limit: Under which limit it was admitted; None is without.
        status: The run's before.
    """

    workflow_name: str
    input: str
    facts: Facts
    epoch: int
    attempt: int
    limit: int | None = None
    began_at: str | None = None
    status: str = ExecutionStatus.PENDING.value


class End(StrEnum):
    """Why a session ended."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    RETRY = "RETRY"
    WAITING = "WAITING"
    INTERRUPTED = "INTERRUPTED"
    LIMITED = "LIMITED"
    UNKNOWN = "UNKNOWN"


@dataclass(kw_only=True)
class Outcome:
    """How a session ended.

    Attributes:
        rows: The jobs as they were then: what has changed since they were recorded.
        output: Of a run that has succeeded.
        error: Of one that has failed, or is tried again.
        retry_seconds: After which wait it is tried again.
        limit: Of a run that must be admitted first.
        wait: Where it waits.
    """

    end: End
    rows: list[Row] = field(default_factory=list)
    output: str | None = None
    error: list[Any] | None = None
    retry_seconds: float = 0
    limit: int | None = None
    wait: Wait | None = None


@dataclass(kw_only=True)
class Recorded:
    """The argument of the update `record`: jobs that have ended."""

    epoch: int
    rows: list[Row]


@dataclass(kw_only=True)
class Answer:
    """The argument of the signal `resolve`: an answer to a wait. The first one that comes is taken."""

    id: str
    place: str
    result: str


@dataclass(kw_only=True)
class NewRun:
    """A run that is to be started: as a workflow of Temporal's whose ID is the run's and whose type is its workflow.

    Attributes:
        caller: As `caller_mark` says.
    """

    run_id: str
    name: str
    start: Start
    facts: Facts
    caller: str
    status: str = ExecutionStatus.PENDING.value

    @property
    def memo(self) -> dict[str, Any]:
        """The memo of its workflow."""
        return {FACTS: vars(self.facts)}

    @property
    def search_attributes(self) -> TypedSearchAttributes:
        """The search attributes of its workflow."""
        return TypedSearchAttributes(
            [
                SearchAttributePair(STATUS, self.status),
                SearchAttributePair(CALLER, self.caller),
                SearchAttributePair(CREATED_AT, datetime.fromisoformat(self.facts.created_at)),
            ]
        )


def caller_mark(caller_id: str) -> str:
    """What runs of a caller are found by: short, and free of characters that a query would trip over."""
    return blake2b(caller_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def admission_id(task_queue: str, workflow_name: str) -> str:
    """The ID of the workflow that admits the runs of a workflow."""
    return f"{task_queue}/admission/{workflow_name}"


ALWAYS = timedelta(days=3650)
"""How long a session may last: jobs have no time limit of their own, and silence is found out by heartbeats."""


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
