"""Live updates of a run as GraphQL: the subscription `workflowRunUpdates` and its types."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated

import strawberry
from strawberry.types.field import StrawberryField

from gqlplugin.execution import ExecutionStatus, JobExecution, WorkflowExecution
from gqlplugin.graphql.changes import Change, JobEnd, JobLogLine, JobProgress, JobStart, News, StatusChange
from gqlplugin.graphql.following import Followers
from gqlplugin.graphql.grants import FOR_READING
from gqlplugin.graphql.seen import read_cursor
from gqlplugin.graphql.workflow_run import KnownJobs, WorkflowJobRun, WorkflowRun, job_run, workflow_run
from gqlplugin.platform.base import current_binding
from gqlplugin.platform.job_log import public_line


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
