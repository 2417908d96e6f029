"""Runs and their jobs as every platform records them: statuses, policies, filters, and who started them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b

from gqlplugin.checks import caller_source, check_duration, check_type
from gqlplugin.errors import FailedPreconditionError, plain_text
from gqlplugin.identity import AuthInvoker, User


class ExecutionStatus(StrEnum):
    """The status of a run (TAILOR.md section 5); CANCELED is ours."""

    PENDING = "PENDING"
    PENDING_RESUME = "PENDING_RESUME"
    PENDING_RETRY = "PENDING_RETRY"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended; only a resume moves it on from here."""
        return self in (ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.CANCELED)

    @property
    def is_resumable(self) -> bool:
        """Whether the run has ended without a result, so that it can be tried again."""
        return self in (ExecutionStatus.FAILED, ExecutionStatus.CANCELED)


class JobStatus(StrEnum):
    """The status of a job (TAILOR.md section 5); CANCELED is ours.

    SUSPEND means that it waits for a job it triggered, or at a wait point; WAITING is the status of the wait itself.
    """

    RUNNING = "RUNNING"
    SUSPEND = "SUSPEND"
    WAITING = "WAITING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether the job has a recorded outcome."""
        return self in (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED)


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """Why a run or a job failed.

    Attributes:
        code: A stable code.
        message: Safe to show to the caller.
        detail: The traceback, for operators only.
        may_retry: Whether a retry policy applies.
        retry_after: Seconds to wait for the next try, instead of the policy's own wait.
    """

    code: str
    message: str
    detail: str | None = None
    may_retry: bool = True
    retry_after: float | None = None

    def __post_init__(self) -> None:
        for name in ("code", "message", "detail"):  # of a job, or of a journal that an earlier version wrote
            value = getattr(self, name)
            if value is not None and (text := plain_text(value)) is not value:
                object.__setattr__(self, name, text)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job says it is: a fraction from 0 to 1, and a message."""

    fraction: float
    message: str | None = None

    def __post_init__(self) -> None:
        if self.message is not None and (text := plain_text(self.message)) is not self.message:
            object.__setattr__(self, "message", text)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a failed run is tried again (TAILOR.md section 5).

    Args:
        max_retries: Tries after the first, 1 to 10.
        initial_backoff: Wait before the first retry, at most one hour.
        max_backoff: Longest wait, at most 24 hours.
        backoff_multiplier: Factor from one wait to the next, at least 1.

    Raises:
        DefinitionError: A value is of another type.
        ValueError: A value is out of its range.
    """

    max_retries: int
    initial_backoff: timedelta = timedelta(seconds=1)
    max_backoff: timedelta = timedelta(minutes=5)
    backoff_multiplier: float = 2.0

    def __post_init__(self) -> None:
        where = f"RetryPolicy at {caller_source(3)}"
        check_type(where, "max_retries", self.max_retries, int, "max_retries=3")
        check_duration(where, "initial_backoff", self.initial_backoff)
        check_duration(where, "max_backoff", self.max_backoff)
        check_type(where, "backoff_multiplier", self.backoff_multiplier, (int, float), "backoff_multiplier=2.0")
        if not 1 <= self.max_retries <= 10:
            raise ValueError(f"max_retries must be from 1 to 10, not {self.max_retries}")
        if not timedelta(0) < self.initial_backoff <= timedelta(hours=1):
            raise ValueError(f"initial_backoff must be above 0 and at most 1 hour, not {self.initial_backoff}")
        if not self.initial_backoff <= self.max_backoff <= timedelta(hours=24):
            raise ValueError(f"max_backoff must be from initial_backoff to 24 hours, not {self.max_backoff}")
        if not 1 <= self.backoff_multiplier < float("inf"):
            raise ValueError(f"backoff_multiplier must be a finite number of at least 1, not {self.backoff_multiplier}")

    def backoff(self, retry: int) -> timedelta:
        """The wait before retry number `retry`, counted from 1."""
        longest = self.max_backoff.total_seconds()
        seconds = self.initial_backoff.total_seconds()
        for _ in range(retry - 1):
            seconds = min(seconds * self.backoff_multiplier, longest)
        return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class ConcurrencyPolicy:
    """How many runs of a workflow execute at once; what exceeds it stays PENDING (TAILOR.md section 5).

    Args:
        max_concurrent_executions: 1 to 1000.

    Raises:
        DefinitionError: The value is not an int.
        ValueError: The value is out of its range.
    """

    max_concurrent_executions: int

    def __post_init__(self) -> None:
        check_type(
            f"ConcurrencyPolicy at {caller_source(3)}",
            "max_concurrent_executions",
            self.max_concurrent_executions,
            int,
            "max_concurrent_executions=10",
        )
        if not 1 <= self.max_concurrent_executions <= 1000:
            raise ValueError(f"max_concurrent_executions must be from 1 to 1000, not {self.max_concurrent_executions}")


class Allowance:
    """So many bytes, which several reads may share.

    Args:
        max_bytes: How many.
    """

    __slots__ = ("left",)

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes

    def take(self, size: int) -> bool:
        """Take some bytes; False when fewer are left, which takes none."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True)
class Values:
    """Which large values of runs and jobs to read. Those that are not read are named in `left_out` of the record.

    Attributes:
        names: Of `input`, `output`, `result`, `logs` and `payload`.
        allowance: How many bytes they may have together. A value that does not fit is left out.
    """

    names: frozenset[str]
    allowance: Allowance

    def admit(self, name: str, text: str | None) -> bool:
        """Whether a value is to be read."""
        return text is None or (name in self.names and self.allowance.take(len(text)))


_NOTHING: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)  # not frozen, which would take three times as long to make, on the hot path
class WorkflowExecution:
    """A run of a workflow, as it was when it was read: changing this changes nothing.

    Attributes:
        id: A UUID, version 7: it sorts by time of start.
        input, output: JSON text.
        caller: Who started it.
        invoker: The machine user it runs as; None when it is anonymous.
        progress: What its main job said last.
        attempt: 0 for the first try, then the number of the retry.
        depth: 0 when started from outside, 1 when a job of such a run started it, and so on.
        trace: The trace it belongs to: `traceparent` and `tracestate` as W3C Trace Context has them. For operators.
        left_out: Names of the attributes that were not read; see `Values`.
    """

    id: str
    workflow_name: str
    status: ExecutionStatus
    input: str
    created_at: datetime
    caller: User = field(default_factory=User)
    invoker: AuthInvoker | None = None
    output: str | None = None
    error: ExecutionError | None = None
    progress: Progress | None = None
    attempt: int = 0
    depth: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    trace: Mapping[str, str] | None = None
    left_out: frozenset[str] = _NOTHING


@dataclass(slots=True, kw_only=True)  # not frozen, as above
class JobExecution:
    """A job within a run, as it was when it was read.

    Attributes:
        place: Where it was triggered: "0" is the main job, "0.2" the third job that the main job triggered.
        stacked_name: The names of the jobs down to this one, joined by "/".
        input, result: JSON text.
        logs: One line per entry, bounded.
        given_id: Its ID, where the platform gives it one of its own.
        is_wait_point: Whether it is no job but a wait at the wait point of this name; its input is the payload.
        left_out: Names of the attributes that were not read; see `Values`.
    """

    run_id: str
    place: str
    name: str
    stacked_name: str
    status: JobStatus
    input: str
    started_at: datetime
    result: str | None = None
    error: ExecutionError | None = None
    logs: tuple[str, ...] = ()
    progress: Progress | None = None
    finished_at: datetime | None = None
    given_id: str | None = None
    is_wait_point: bool = False
    left_out: frozenset[str] = _NOTHING

    @property
    def id(self) -> str:
        """The one it was given, else a UUID of version 8 that begins as the run's and follows from run and place."""
        if self.given_id is not None:
            return self.given_id
        return job_id_at(self.run_id, self.place)


def job_id_at(run_id: str, place: str) -> str:
    """The ID of a job that was given none, by its place in its run; see `JobExecution.id`."""
    digest = blake2b(f"{run_id}/{place}".encode(), digest_size=8).digest()
    low = 0b10 << 62 | int.from_bytes(digest) >> 2
    return f"{run_id[:14]}8{run_id[15:18]}-{low >> 48:04x}-{low & (1 << 48) - 1:012x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which runs to list, and in which order; None means all.

    Attributes:
        firings: Whether the firings of executors are listed too, where no workflow is named.
        oldest_first: Whether the listing begins with the oldest run, not with the newest.
        values: What to read of inputs and outputs; None is all.
    """

    workflow_name: str | None = None
    status: ExecutionStatus | None = None
    caller_id: str | None = None
    firings: bool = True
    oldest_first: bool = False
    values: Values | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPage:
    """A page of runs in the order of their listing. `cursors[i]` continues a listing after `executions[i]`."""

    executions: Sequence[WorkflowExecution]
    cursors: Sequence[str]
    has_next: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWait:
    """A run that waits at a wait point.

    Attributes:
        execution: The run.
        name: The wait point's name.
        payload: What it was told there, as JSON text.
        job_id: The ID of the wait, as `JobExecution.id` gives it.
        since: When it began to wait.
        expires_at: When it goes on without an answer; None is never.
        left_out: Names of the attributes that were not read; see `Values`.
    """

    execution: WorkflowExecution
    name: str
    payload: str
    job_id: str
    since: datetime
    expires_at: datetime | None = None
    left_out: frozenset[str] = _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFilter:
    """Which waits to list; None means all.

    Attributes:
        values: What to read of payloads, and of the inputs and outputs of the runs; None is all.
    """

    name: str | None = None
    run_id: str | None = None
    workflow_name: str | None = None
    caller_id: str | None = None
    values: Values | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPage:
    """A page of waits, the longest one first. `cursors[i]` continues a listing after `waits[i]`."""

    waits: Sequence[PendingWait]
    cursors: Sequence[str]
    has_next: bool


def by_place(job: JobExecution) -> tuple[int, ...]:
    """A sort key: jobs in the order they were triggered, a job before those it triggered."""
    return tuple(int(step) for step in job.place.split("."))


def trim_run(run: WorkflowExecution, values: Values | None) -> WorkflowExecution:
    """A run that was read as a whole, without the values that were not asked for or don't fit."""
    if values is None:
        return run
    left_out = _unwanted(values, input=run.input, output=run.output)
    return replace(
        run,
        input="null" if "input" in left_out else run.input,
        output=None if "output" in left_out else run.output,
        left_out=left_out,
    )


def trim_job(job: JobExecution, values: Values | None) -> JobExecution:
    """The same for a job."""
    if values is None:
        return job
    left_out = _unwanted(values, input=job.input, result=job.result, logs="\n".join(job.logs) or None)
    return replace(
        job,
        input="null" if "input" in left_out else job.input,
        result=None if "result" in left_out else job.result,
        logs=() if "logs" in left_out else job.logs,
        left_out=left_out,
    )


def trim_wait(wait: PendingWait, values: Values | None) -> PendingWait:
    """The same for a wait and its run."""
    if values is None:
        return wait
    left_out = _unwanted(values, payload=wait.payload)
    execution = trim_run(wait.execution, values)
    return replace(wait, execution=execution, payload="null" if left_out else wait.payload, left_out=left_out)


def _unwanted(values: Values, **texts: str | None) -> frozenset[str]:
    return frozenset(name for name, text in texts.items() if not values.admit(name, text))


_WAIT = "wait:"
_NEVER_RETRIED = frozenset({"REPLAY_MISMATCH", "INVALID_DEFINITION"})


def started_name(workflow_name: str) -> str:
    """The name under which a started workflow is recorded; no job can have it."""
    return f"workflow:{workflow_name}"


def wait_name(wait_point: str) -> str:
    """The name under which a wait at a wait point is recorded; no job can have it."""
    return f"{_WAIT}{wait_point}"


def effect_name(effect: str) -> str:
    """The name under which something else that a job did once is recorded; no job can have it."""
    return f"effect:{effect}"


def find_wait(
    run: WorkflowExecution, record: Iterable[JobExecution], wait_point: str, job_id: str | None
) -> JobExecution:
    """The wait of a run that an answer is for.

    Args:
        run: The run.
        record: What is recorded of it.
        wait_point: Where it should wait.
        job_id: The ID of the wait that is meant; None is whichever it is.

    Raises:
        FailedPreconditionError: It does not wait there, or no longer.
    """
    name = wait_name(wait_point)
    waits = [job for job in record if job.name.startswith(_WAIT)]
    current = next((job for job in waits if job.status is JobStatus.WAITING), None)
    if run.status is ExecutionStatus.WAITING and current is not None:
        if current.name == name and job_id in (None, current.id):
            return current
        if current.name != name:
            waits_at = current.name.removeprefix(_WAIT)
            raise FailedPreconditionError(f"Run {run.id!r} waits at {waits_at!r}, not at {wait_point!r}.")
    if any(job.name == name and job.status is JobStatus.SUCCESS for job in waits):
        raise FailedPreconditionError(f"Wait point {wait_point!r} of run {run.id!r} has been resolved already.")
    raise FailedPreconditionError(f"Run {run.id!r} is {run.status}, and does not wait at {wait_point!r}.")


def is_hidden(job: JobExecution) -> bool:
    """Whether a record stands for a workflow that a job started, or another effect, and not for a job or a wait."""
    return job.name.startswith(("workflow:", "effect:"))


def retry_wait(policy: RetryPolicy | None, attempt: int, error: ExecutionError | None) -> timedelta | None:
    """How long to wait before a run that failed is tried again; None when it is not.

    It is not when another try can't end otherwise, as when the definitions themselves are wrong.

    Args:
        policy: The workflow's.
        attempt: Of the try that failed: 0 for the first.
        error: Why it failed.
    """
    if policy is None or error is None or attempt >= policy.max_retries:
        return None
    if not error.may_retry or error.code in _NEVER_RETRIED:
        return None
    return policy.backoff(attempt + 1) if error.retry_after is None else timedelta(seconds=error.retry_after)


def to_run_again(record: Iterable[JobExecution]) -> list[str]:
    """The places to forget before a failed run is tried again.

    Those are the failures that ended the run: a failed job whose caller failed right after it. A failure that its
    caller handled, and went on to trigger something else or succeeded, stays: forgetting it would change the caller's
    way. What succeeded stays in any case.
    """
    jobs = {job.place: job for job in sorted(record, key=by_place)}
    forgotten: list[str] = []
    for place, job in jobs.items():
        if job.status is JobStatus.SUCCESS:
            continue
        parent, _, step = place.rpartition(".")
        is_last = f"{parent}.{int(step) + 1}" not in jobs
        if not parent or job.status is JobStatus.RUNNING or (parent in forgotten and is_last):
            forgotten.append(place)
    return forgotten


def shown(record: Sequence[JobExecution]) -> list[JobExecution]:
    """The jobs of a record as a caller sees them.

    The starts of other workflows are left out, and a running job that waits for one it triggered is SUSPEND. One whose
    caller has ended was given up by it, under a time limit perhaps. A wait is shown under its wait point's name.
    """
    ends = {job.place: job.finished_at for job in record if job.status.is_final}
    waiting = {job.place.rpartition(".")[0] for job in record if not job.status.is_final}
    return [_shown(job, waiting, ends) for job in record if not is_hidden(job)]


def _shown(job: JobExecution, waiting: Collection[str], ends: Mapping[str, datetime | None]) -> JobExecution:
    if job.name.startswith(_WAIT):
        return replace(job, name=job.name.removeprefix(_WAIT), is_wait_point=True)
    if job.status is not JobStatus.RUNNING:
        return job
    if (caller := job.place.rpartition(".")[0]) in ends:
        error = ExecutionError("JOB_GIVEN_UP", f"Job {job.stacked_name!r} was given up by its caller.")
        return replace(job, status=JobStatus.FAILED, error=error, finished_at=ends[caller])
    return replace(job, status=JobStatus.SUSPEND) if job.place in waiting else job
