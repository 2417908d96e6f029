"""What the record of a run says: which of it to forget before another try, and how callers see it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.execution import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    WorkflowExecution,
    by_place,
)

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
