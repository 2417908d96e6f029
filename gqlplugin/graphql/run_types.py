"""The GraphQL types of a run and its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import strawberry
from pydantic_core import from_json
from strawberry.scalars import JSON

from gqlplugin.graphql.response_limits import parse_for_answer, selected_values, value_of
from gqlplugin.platform.base import Platform
from gqlplugin.platform.job_log import public_line
from gqlplugin.runs import ExecutionStatus, JobExecution, JobStatus, WorkflowExecution
from gqlplugin.tasks import begin, result_of

R = TypeVar("R", bound="WorkflowRun")

strawberry.enum(ExecutionStatus, name="WorkflowRunStatus", description="How far a run is.")
strawberry.enum(JobStatus, name="WorkflowJobRunStatus", description="How far a job is; SUSPEND: it waits for another.")


def _logs(root: strawberry.Parent[WorkflowJobRun]) -> list[str]:
    return list(map(public_line, value_of(root.job, "logs")))


def _result(root: strawberry.Parent[WorkflowJobRun]) -> JSON | None:
    text = value_of(root.job, "result")
    result: JSON | None = None if text is None else from_json(parse_for_answer(text))
    return result


@strawberry.type(description="A job within a run.")
class WorkflowJobRun:
    """A job as GraphQL."""

    id: strawberry.ID
    name: str
    stacked_name: str = strawberry.field(description="The names of the jobs down to this one, joined by `/`.")
    status: JobStatus
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    logs: list[str] = strawberry.field(resolver=_logs)
    result: JSON | None = strawberry.field(resolver=_result)
    progress: float | None = strawberry.field(description="From 0 to 1, if the job tells.")
    progress_message: str | None
    is_wait_point: bool = strawberry.field(description="Whether it is a wait for an answer, and not a job.")
    job: strawberry.Private[JobExecution]


class JobsOfRuns(Protocol):
    """Where the jobs of runs come from."""

    async def of(self, run_id: str) -> Sequence[WorkflowJobRun]:
        """The jobs of one of the runs."""
        ...


class KnownJobs:
    """The jobs of a run that were read with it."""

    def __init__(self, jobs: Sequence[WorkflowJobRun]) -> None:
        self._jobs = jobs

    async def of(self, run_id: str) -> Sequence[WorkflowJobRun]:
        """The jobs; of other runs nothing is known."""
        del run_id
        return self._jobs


class JobsOfPage:
    """Reads the jobs of a page of runs, all at once and once.

    Args:
        platform: Where they are.
        run_ids: The runs.
        info: Of the field that returns the page: what is selected below it is what is read of the jobs.
    """

    def __init__(self, platform: Platform, run_ids: Sequence[str], info: strawberry.Info) -> None:
        self._platform = platform
        self._info = info
        self._run_ids = run_ids
        self._reading: asyncio.Future[Mapping[str, Sequence[JobExecution]]] | None = None

    async def of(self, run_id: str) -> Sequence[WorkflowJobRun]:
        """The jobs of one of the runs."""
        if self._reading is None:
            self._reading = begin(self._read())
        return [job_run(job) for job in (await result_of(self._reading)).get(run_id, ())]

    async def _read(self) -> Mapping[str, Sequence[JobExecution]]:
        return await self._platform.get_jobs(self._run_ids, values=selected_values(self._info))


async def _jobs(root: strawberry.Parent[WorkflowRun]) -> list[WorkflowJobRun]:
    return list(await root.jobs_of_runs.of(root.execution.id))


@strawberry.interface(
    description="A run of a workflow, or of an executor. Each workflow has a type of its own, with input and output."
)
class WorkflowRun:
    """A run as GraphQL."""

    id: strawberry.ID
    workflow_name: str
    status: ExecutionStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None = strawberry.field(description="Why it failed.")
    progress: float | None = strawberry.field(description="From 0 to 1, if its main job tells.")
    progress_message: str | None
    execution: strawberry.Private[WorkflowExecution]
    jobs_of_runs: strawberry.Private[JobsOfRuns]

    jobs: list[WorkflowJobRun] = strawberry.field(
        resolver=_jobs, description="Its jobs, in the order they were triggered."
    )


def shown(
    platform: Platform,
    executions: Sequence[WorkflowExecution],
    type_of: Callable[[WorkflowExecution], type[R]],
    info: strawberry.Info,
) -> list[R]:
    """Runs as GraphQL.

    Args:
        platform: Where they are.
        executions: The runs; their jobs are read together.
        type_of: Tells the type of a run.
        info: Of the field that returns them.
    """
    jobs = JobsOfPage(platform, [execution.id for execution in executions], info)
    return [workflow_run(execution, jobs, type_of(execution)) for execution in executions]


def workflow_run(execution: WorkflowExecution, jobs: JobsOfRuns, type_: type[R]) -> R:
    """A run as GraphQL, of a type."""
    return type_(
        id=strawberry.ID(execution.id),
        workflow_name=execution.workflow_name,
        status=execution.status,
        created_at=execution.created_at,
        started_at=execution.started_at,
        finished_at=execution.finished_at,
        error=execution.error.message if execution.error else None,
        progress=execution.progress.fraction if execution.progress else None,
        progress_message=execution.progress.message if execution.progress else None,
        execution=execution,
        jobs_of_runs=jobs,
    )


def job_run(job: JobExecution) -> WorkflowJobRun:
    """A job as GraphQL."""
    return WorkflowJobRun(
        id=strawberry.ID(job.id),
        name=job.name,
        stacked_name=job.stacked_name,
        status=job.status,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=job.error.message if job.error else None,
        progress=job.progress.fraction if job.progress else None,
        progress_message=job.progress.message if job.progress else None,
        is_wait_point=job.is_wait_point,
        job=job,
    )
