"""What has changed of a run since somebody was told of it: a pure function of what they have seen and what is now.

So whoever reads slowly holds no queue: when they ask again they get the difference. Statuses that were passed between
two looks are left out; the final one never is, nor is a line of a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gqlplugin.execution import ExecutionStatus, JobExecution, WorkflowExecution, by_place
from gqlplugin.graphql.seen import GoingOn, Seen, digest_of_progress, seen_of


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The run has another status, or has it anew."""

    status: ExecutionStatus


@dataclass(frozen=True, slots=True)
class JobStart:
    """A job was triggered, or is tried again from its start."""

    job: JobExecution


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A job has an outcome."""

    job: JobExecution


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job says how far it is."""

    job: JobExecution
    fraction: float
    message: str | None


@dataclass(frozen=True, slots=True)
class JobLogLine:
    """A job has logged a line."""

    job: JobExecution
    line: str


Change = StatusChange | JobStart | JobEnd | JobProgress | JobLogLine


@dataclass(frozen=True, slots=True)
class News:
    """What has changed, and what is seen by whoever was told."""

    changes: tuple[Change, ...]
    seen: Seen


def first_look(run: WorkflowExecution, jobs: Iterable[JobExecution]) -> News:
    """What whoever begins with a snapshot has seen."""
    return News((), seen_of(run, list(jobs)))


def changes_since(seen: Seen, run: WorkflowExecution, jobs: Iterable[JobExecution]) -> News:
    """What has changed of a run.

    The changes are in the order of a traversal: a job's start comes before those of the jobs it triggered, its end
    after theirs.

    Args:
        seen: What was told.
        run: As it is now.
        jobs: Its jobs, likewise.
    """
    present = sorted(jobs, key=by_place)
    told = present if run.status is not ExecutionStatus.RUNNING else list(_attached(present))
    attached = {job.place for job in told}
    after = seen_of(run, told, [job for job in present if job.place not in attached], seen)
    changes = list(_job_changes(seen, told))
    if (seen.status, seen.attempt, seen.finished_at) != (after.status, after.attempt, after.finished_at):
        changes.insert(0 if run.status is ExecutionStatus.RUNNING else len(changes), StatusChange(run.status))
    return News(tuple(changes), after)


def _attached(jobs: Sequence[JobExecution]) -> Iterator[JobExecution]:
    """The jobs whose callers are recorded, too.

    A short job is recorded at its end, which may be before its caller is: it is told of a moment later, together.
    """
    places: set[str] = set()
    for job in jobs:
        caller = job.place.rpartition(".")[0]
        if not caller or caller in places:
            places.add(job.place)
            yield job


def _job_changes(seen: Seen, jobs: Iterable[JobExecution]) -> Iterator[Change]:
    """The changes of jobs that are in the order they were triggered."""
    callers: list[tuple[JobExecution, bool]] = []
    for job in jobs:
        while callers and not job.place.startswith(f"{callers[-1][0].place}."):
            yield from _end(*callers.pop())
        is_new = not seen.knows(job)
        before = GoingOn(job.place, 0) if is_new else seen.at(job.place)
        if is_new:
            yield JobStart(job)
        if before is not None:
            yield from _details(job, before)
        callers.append((job, before is not None))
    while callers:
        yield from _end(*callers.pop())


def _details(job: JobExecution, before: GoingOn) -> Iterator[Change]:
    for line in job.logs[before.lines :]:
        yield JobLogLine(job, line)
    if job.progress is not None and digest_of_progress(job) != before.progress:
        yield JobProgress(job, job.progress.fraction, job.progress.message)


def _end(job: JobExecution, was_going_on: bool) -> Iterator[Change]:
    if was_going_on and job.status.is_final:
        yield JobEnd(job)
