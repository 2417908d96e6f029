"""What a subscriber has received of a run: the cursor, and what has changed since."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from typing import Annotated

from pydantic import Field, StringConstraints, TypeAdapter

from gqlplugin.errors import FieldProblem, InvalidInputError
from gqlplugin.runs import ExecutionStatus, JobExecution, WorkflowExecution, by_place

MAX_CURSOR_LENGTH = 32_768
MAX_NAMED = 200
"""Most unfinished jobs that a cursor names; those that were triggered first are left out, and told again."""

_VERSION = "1."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class GoingOn:
    """What was told of a job that had not ended.

    Attributes:
        started_at: Of the try that was told, in microseconds since 1970.
        lines: How many lines of its log.
        progress: A digest of its progress; empty for none.
    """

    place: str
    started_at: int
    lines: int = 0
    progress: str = ""


@dataclass(frozen=True)
class Seen:
    """What a subscriber has been told of a run, in little space.

    The jobs of a run end one after another, so what has ended and was told is told from what was not by its time.

    Attributes:
        run_id: The run.
        status: Its status.
        attempt: The number of the retry.
        finished_at: When it ended, if it had, in microseconds since 1970.
        ended_at: The end of the job that ended last of those whose end was told, likewise; 0 when there is none.
        ended: The places of the jobs that ended at just that time.
        last: The place that was triggered last of those that were told; empty when there is none.
        going_on: The jobs that had not ended.
        untold: The places of jobs that had ended, and were not told yet.
    """

    run_id: str
    status: ExecutionStatus
    attempt: int
    finished_at: int | None
    ended_at: int = 0
    ended: tuple[str, ...] = ()
    last: str = ""
    going_on: tuple[GoingOn, ...] = ()
    untold: tuple[str, ...] = ()

    @cached_property
    def cursor(self) -> str:
        """This as a text that is safe in a URL. It is no secret, and not signed: it decides only what is told again."""
        going_on = [[one.place, one.started_at, one.lines, one.progress] for one in self.going_on[-MAX_NAMED:]]
        ends = [self.ended_at, self.ended[-MAX_NAMED:], self.last, going_on, self.untold[-MAX_NAMED:]]
        values = [_digest(self.run_id), self.status, self.attempt, self.finished_at, *ends]
        text = json.dumps(values, separators=(",", ":"))
        return _VERSION + urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def at(self, place: str) -> GoingOn | None:
        """What was told of the job at a place that had not ended."""
        return self._by_place.get(place)

    def knows(self, job: JobExecution) -> bool:
        """Whether this try of a job was told; if it was going on then, perhaps not all of it."""
        if (before := self.at(job.place)) is not None:
            return before.started_at == microseconds(job.started_at)
        if not job.status.is_final or job.place in self.untold:
            return False
        if not self.last or key_of(job.place) > key_of(self.last):  # whatever the clock says
            return False
        end = _end_of(job)
        return end < self.ended_at or (end == self.ended_at and job.place in self.ended)

    @cached_property
    def _by_place(self) -> dict[str, GoingOn]:
        return {one.place: one for one in self.going_on}


def seen_of(
    run: WorkflowExecution,
    told: Collection[JobExecution],
    untold: Collection[JobExecution] = (),
    before: Seen | None = None,
) -> Seen:
    """What somebody has seen of a run.

    Args:
        run: As it was told.
        told: The jobs that were told, as they were.
        untold: The jobs that were not.
        before: What had been seen before.
    """
    ends = [(_end_of(job), job.place) for job in told if job.status.is_final]
    if before is not None:
        ends += [(before.ended_at, place) for place in ("", *before.ended)]
    ended_at = max((end for end, _ in ends), default=0)
    kept = [] if before is None else [one for job in untold if (one := before.at(job.place)) is not None]
    going_on = [_going_on(job) for job in told if not job.status.is_final]
    places = [job.place for job in told] + ([before.last] if before is not None and before.last else [])
    return Seen(
        run_id=run.id,
        status=run.status,
        attempt=run.attempt,
        finished_at=None if run.finished_at is None else microseconds(run.finished_at),
        ended_at=ended_at,
        ended=tuple(sorted({place for end, place in ends if place and end == ended_at})),
        last=max(places, key=key_of, default=""),
        going_on=tuple(sorted((*kept, *going_on), key=lambda one: key_of(one.place))),
        untold=tuple(job.place for job in untold if job.status.is_final and not (before and before.knows(job))),
    )


def read_cursor(cursor: str, run_id: str) -> Seen:
    """What the subscriber to a run has seen who comes back with a cursor.

    Raises:
        InvalidInputError: It is no cursor of this run, or of another version of gqlplugin.
    """
    try:
        seen = _parse(cursor, run_id)
    except ValueError:  # of base64, of pydantic, and of texts that are not ASCII
        seen = None
    if seen is None:
        message = "This is not a cursor of this workflow run: subscribe without `after`, and begin with a snapshot."
        raise InvalidInputError(problems=[FieldProblem(("after",), message)])
    return seen


def key_of(place: str) -> tuple[int, ...]:
    """A sort key: places in the order they were triggered, a job's before those of what it triggered."""
    return tuple(map(int, place.split(".")))


def _end_of(job: JobExecution) -> int:
    """When a job ended, as near as is known."""
    return microseconds(job.finished_at or job.started_at)


def microseconds(moment: datetime) -> int:
    """A moment in microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def digest_of_progress(job: JobExecution) -> str:
    """A short text that differs from one progress to another; empty for none."""
    return "" if job.progress is None else _digest(f"{job.progress.fraction!r} {job.progress.message}")


def _going_on(job: JobExecution) -> GoingOn:
    return GoingOn(job.place, microseconds(job.started_at), len(job.logs), digest_of_progress(job))


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()


def _parse(cursor: str, run_id: str) -> Seen | None:
    if len(cursor) > MAX_CURSOR_LENGTH or not cursor.startswith(_VERSION):
        return None
    text = cursor.removeprefix(_VERSION)
    values = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    run, status, attempt, finished_at, ended_at, ended, last, going_on, untold = _VALUES.validate_json(values)
    if run != _digest(run_id):
        return None
    jobs = tuple(GoingOn(*job) for job in going_on)
    return Seen(run_id, status, attempt, finished_at, ended_at, ended, last, jobs, untold)


_Place = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})*$", max_length=200)]
_Count = Annotated[int, Field(ge=0, lt=1 << 62)]
_Digest = Annotated[str, StringConstraints(max_length=12)]
_VALUES = TypeAdapter(
    tuple[
        _Digest,
        ExecutionStatus,
        _Count,
        _Count | None,
        _Count,
        tuple[_Place, ...],
        _Place | Annotated[str, StringConstraints(max_length=0)],
        tuple[tuple[_Place, _Count, _Count, _Digest], ...],
        tuple[_Place, ...],
    ]
)


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
