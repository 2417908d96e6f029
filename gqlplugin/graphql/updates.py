"""The subscription `workflowRunUpdates`: one watch per run, shared by all its subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from copy import copy
from functools import partial
from typing import Annotated, Any, Generic, Protocol, TypeVar

import strawberry
from strawberry.types.field import StrawberryField

from gqlplugin.errors import GqlpluginError, PlatformUnavailableError
from gqlplugin.graphql.cursor import (
    Change,
    JobEnd,
    JobLogLine,
    JobProgress,
    JobStart,
    News,
    Seen,
    StatusChange,
    changes_since,
    first_look,
    read_cursor,
)
from gqlplugin.graphql.policy import FOR_READING
from gqlplugin.graphql.run_types import KnownJobs, WorkflowJobRun, WorkflowRun, job_run, workflow_run
from gqlplugin.platform.base import Platform, current_binding
from gqlplugin.platform.job_log import public_line
from gqlplugin.runs import ExecutionStatus, JobExecution, WorkflowExecution
from gqlplugin.tasks import begin

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class Show(Protocol[V_co]):
    """Makes of a run, of its jobs and of what has changed what a subscriber gets."""

    def __call__(self, run: WorkflowExecution, jobs: Sequence[JobExecution], news: News) -> V_co: ...


class Look(Generic[V]):
    """A run and its jobs, as they were when they were read, and what those who follow make of them.

    Attributes:
        number: Of the looks at this run.
        session: The number of the watch that it is from.
    """

    def __init__(
        self, run: WorkflowExecution, jobs: Sequence[JobExecution], number: int, session: int, show: Show[V]
    ) -> None:
        self.run = run
        self.number = number
        self.session = session
        self._jobs = jobs
        self._show = show
        self._told: dict[Seen | None, tuple[Seen, V | None]] = {}

    def since(self, seen: Seen | None) -> tuple[Seen, V | None]:
        """What is seen from here on, and what to tell, if anything: made once for all who have seen the same."""
        told = self._told.get(seen)
        if told is None:
            news = first_look(self.run, self._jobs) if seen is None else changes_since(seen, self.run, self._jobs)
            is_news = seen is None or bool(news.changes)
            told = news.seen, self._show(self.run, self._jobs, news) if is_news else None
            self._told[seen] = told
        return told


class Followers(Generic[V]):
    """Those who follow runs.

    Args:
        show: Makes what they get.
    """

    def __init__(self, show: Show[V]) -> None:
        self._show = show
        self._hubs: dict[tuple[int, str], _Hub[V]] = {}

    async def follow(self, platform: Platform, run_id: str, seen: Seen | None) -> AsyncIterator[V]:
        """What happens to a run, until it has ended.

        Args:
            platform: Where it is.
            run_id: The run.
            seen: What the follower has seen; with None they begin with the run as it is.

        Raises:
            NotFoundError: There is no such run any more.
            PlatformUnavailableError: The platform can't answer, or is being closed.
        """
        key = (id(platform), run_id)  # the hub holds the platform, so nothing else gets its ID
        hub = self._hubs.get(key)
        if hub is None or hub.has_ended:
            hub = self._hubs[key] = _Hub(platform, run_id, self._show)
        session = hub.join(afresh=seen is not None)
        number, has_ended = 0, False
        try:
            while not has_ended:
                look = await hub.next(number, session)
                number, has_ended = look.number, look.run.status.is_final
                seen, update = look.since(seen)
                del look  # whoever reads slowly holds no more than what is being sent to them
                if update is not None:
                    yield update
        finally:
            if not hub.leave() and self._hubs.get(key) is hub:
                del self._hubs[key]


class _Hub(Generic[V]):
    """One run's watch, for all who follow it.

    It is begun anew for whoever comes back, so that they don't get what is older than what they have seen.
    """

    def __init__(self, platform: Platform, run_id: str, show: Show[V]) -> None:
        self._platform = platform
        self._run_id = run_id
        self._show = show
        self._followers = 0
        self._looks = self._session = 0
        self._anew = asyncio.Event()
        self._latest: Look[V] | None = None
        self._error: Exception | None = None
        self._turn = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._look_on())

    @property
    def has_ended(self) -> bool:
        """Whether it looks no more, or is about to: the run has ended, or could not be read."""
        return self._error is not None or (self._latest is not None and self._latest.run.status.is_final)

    def join(self, *, afresh: bool) -> int:
        """One more follows; the number of the first session that they may take a look from."""
        self._followers += 1
        if afresh and self._session:
            self._anew.set()
        return self._session + 1 if afresh else 0

    def leave(self) -> bool:
        """One less follows; whether anybody is left."""
        self._followers -= 1
        if not self._followers:
            self._task.cancel()
        return self._followers > 0

    async def next(self, after: int, session: int) -> Look[V]:
        """The newest look, once its number is above `after`, and its session not below `session`."""
        while self._latest is None or self._latest.number <= after or self._latest.session < session:
            if self._error is not None:
                raise self._own_error() from self._error
            await self._turn.wait()
        return self._latest

    def _own_error(self) -> Exception:
        """Each follower's own, as raising it adds its traceback."""
        if isinstance(self._error, GqlpluginError):
            return copy(self._error)
        return RuntimeError(f"Run {self._run_id} can't be followed")

    async def _look_on(self) -> None:
        try:
            while not await self._watch():
                pass
        except Exception as error:
            self._error = error
            self._tell()

    async def _watch(self) -> bool:
        """Watch until the run has ended, which is True, or until the watch is to begin anew."""
        self._session += 1
        self._anew.clear()
        watching: Any = self._platform.watch(self._run_id)  # an async generator, which must not be left half read
        async with aclosing(watching) as runs:
            while (run := await self._next_of(runs)) is not None:
                jobs = (await self._platform.get_jobs([self._run_id])).get(self._run_id, ())
                self._looks += 1
                self._latest = Look(run, jobs, self._looks, self._session, self._show)
                self._tell()
                if run.status.is_final:
                    return not self._anew.is_set()
        if not self._anew.is_set():
            raise PlatformUnavailableError
        return False

    async def _next_of(self, runs: AsyncIterator[WorkflowExecution]) -> WorkflowExecution | None:
        """What a watch says next; None when it says no more, or is to begin anew."""
        said = begin(anext(runs, None))
        anew = asyncio.ensure_future(self._anew.wait())
        try:
            await asyncio.wait([said, anew], return_when=asyncio.FIRST_COMPLETED)
            return said.result() if said.done() else None
        finally:
            anew.cancel()
            if not said.done():
                said.cancel()
                await asyncio.wait([said])

    def _tell(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()


@strawberry.type(description="The run has another status.")
class WorkflowRunStatusChange:
    """A change of status; those that came and went between two messages are left out."""

    status: ExecutionStatus


@strawberry.type(description="A job was triggered, or is tried again: its log begins anew.")
class WorkflowJobStart:
    """The start of a job."""

    job: WorkflowJobRun


@strawberry.type(description="A job has succeeded, failed or been canceled.")
class WorkflowJobEnd:
    """The end of a job."""

    job: WorkflowJobRun


@strawberry.type(description="A job says how far it is.")
class WorkflowJobProgress:
    """The progress of a job."""

    job: WorkflowJobRun
    progress: float = strawberry.field(description="From 0 to 1.")
    message: str | None


@strawberry.type(description="A job has logged a line.")
class WorkflowJobLogLine:
    """A line of a job's log."""

    job: WorkflowJobRun
    line: str


WorkflowRunChange = Annotated[
    WorkflowRunStatusChange | WorkflowJobStart | WorkflowJobEnd | WorkflowJobProgress | WorkflowJobLogLine,
    strawberry.union("WorkflowRunChange", description="Something that happened to a run."),
]


@strawberry.type(description="A run, and what has changed of it.")
class WorkflowRunUpdate:
    """A message of the subscription."""

    cursor: str = strawberry.field(description="Subscribe with it as `after`, to go on after this message.")
    run: WorkflowRun = strawberry.field(description="The run as it is now.")
    changes: list[WorkflowRunChange] = strawberry.field(
        description="What has happened since the message before, in order; nothing in the first one without `after`."
    )


UPDATE_TYPES: tuple[type, ...] = (
    WorkflowRunUpdate,
    WorkflowRunStatusChange,
    WorkflowJobStart,
    WorkflowJobEnd,
    WorkflowJobProgress,
    WorkflowJobLogLine,
)
UPDATE_NAMES = ("WorkflowRunChange", *(type_.__name__ for type_ in UPDATE_TYPES))

After = Annotated[
    str | None,
    strawberry.argument(description="The cursor of the message to go on after; without it, begin with a snapshot."),
]


def updates_field(
    find: Callable[[str], Awaitable[WorkflowExecution]],
    type_of: Callable[[WorkflowExecution], type[WorkflowRun]],
) -> StrawberryField:
    """The field `workflowRunUpdates`.

    Args:
        find: Reads a run that the caller may see.
        type_of: Tells the GraphQL type of a run.
    """
    followers = Followers(partial(_update, type_of))

    async def workflow_run_updates(id: strawberry.ID, after: After = None) -> AsyncIterator[WorkflowRunUpdate]:
        run = await find(id)
        seen = None if after is None else read_cursor(after, run.id)
        return followers.follow(current_binding().platform, run.id, seen)

    return strawberry.subscription(
        workflow_run_updates,
        description="A run and then every change of it, until it has ended. Resubscribe with the last cursor: "
        "there is no gap, and nothing comes twice.",
        metadata=FOR_READING,
    )


def _update(
    type_of: Callable[[WorkflowExecution], type[WorkflowRun]],
    run: WorkflowExecution,
    jobs: Sequence[JobExecution],
    news: News,
) -> WorkflowRunUpdate:
    shown = {job.place: job_run(job) for job in jobs}
    return WorkflowRunUpdate(
        cursor=news.seen.cursor,
        run=workflow_run(run, KnownJobs(list(shown.values())), type_of(run)),
        changes=[_shown(change, shown) for change in news.changes],
    )


def _shown(change: Change, jobs: dict[str, WorkflowJobRun]) -> WorkflowRunChange:
    match change:
        case StatusChange(status):
            return WorkflowRunStatusChange(status=status)
        case JobStart(job):
            return WorkflowJobStart(job=jobs[job.place])
        case JobEnd(job):
            return WorkflowJobEnd(job=jobs[job.place])
        case JobProgress(job, fraction, message):
            return WorkflowJobProgress(job=jobs[job.place], progress=fraction, message=message)
        case JobLogLine(job, line):
            return WorkflowJobLogLine(job=jobs[job.place], line=public_line(line))
