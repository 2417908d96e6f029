"""Runs as GraphQL: an interface, one type per workflow, and the fields to read, list and resume them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import strawberry
from pydantic import ValidationError
from pydantic_core import from_json
from strawberry.relay import PageInfo
from strawberry.scalars import JSON
from strawberry.types.field import StrawberryField

from gqlplugin.app import App
from gqlplugin.codec import JsonCodec, describe
from gqlplugin.errors import (
    DefinitionError,
    FailedPreconditionError,
    FieldProblem,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
)
from gqlplugin.execution import ExecutionFilter, ExecutionStatus, JobExecution, JobStatus, WorkflowExecution
from gqlplugin.graphql.policy import RunPolicy, decided
from gqlplugin.graphql.types import output_annotation, output_converter
from gqlplugin.names import pascal_case
from gqlplugin.platform.base import Platform, current_binding
from gqlplugin.workflow import Workflow

MAX_PAGE = 100
"""Most runs that `workflowRuns` shows at once."""

strawberry.enum(ExecutionStatus, name="WorkflowRunStatus", description="How far a run is.")
strawberry.enum(JobStatus, name="WorkflowJobRunStatus", description="How far a job is; SUSPEND: it waits for another.")


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
    logs: list[str]
    result: JSON | None
    progress: float | None = strawberry.field(description="From 0 to 1, if the job tells.")
    progress_message: str | None


class JobsOfPage:
    """Reads the jobs of a page of runs, all at once and once."""

    def __init__(self, platform: Platform, run_ids: Sequence[str]) -> None:
        self._platform = platform
        self._run_ids = run_ids
        self._reading: asyncio.Future[Mapping[str, Sequence[JobExecution]]] | None = None

    async def of(self, run_id: str) -> Sequence[JobExecution]:
        """The jobs of one of the runs."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
        return (await asyncio.shield(self._reading)).get(run_id, ())

    async def _read(self) -> Mapping[str, Sequence[JobExecution]]:
        return await self._platform.get_jobs(self._run_ids)


async def _jobs(root: strawberry.Parent[WorkflowRun]) -> list[WorkflowJobRun]:
    return [_job_run(job) for job in await root.jobs_of_page.of(root.execution.id)]


@strawberry.interface(description="A run of a workflow. Each workflow has a type of its own, with input and output.")
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
    jobs_of_page: strawberry.Private[JobsOfPage]

    jobs: list[WorkflowJobRun] = strawberry.field(
        resolver=_jobs, description="Its jobs, in the order they were triggered."
    )


@strawberry.type(description="A run of a workflow that this app no longer has.")
class UnknownWorkflowRun(WorkflowRun):
    """A run whose types nobody knows."""


@strawberry.type(description="A run, and where it is in the list.")
class WorkflowRunEdge:
    """An edge (Relay's cursor connections specification)."""

    cursor: str
    node: WorkflowRun


@strawberry.type(description="A page of runs, newest first.")
class WorkflowRunConnection:
    """A connection (Relay's cursor connections specification)."""

    edges: list[WorkflowRunEdge]
    page_info: PageInfo


class Runs:
    """The runs of an app: the types of its workflows, and the root fields.

    Raises:
        DefinitionError: The types of two workflows have the same name.
    """

    def __init__(self, app: App, policy: RunPolicy) -> None:
        self._policy = policy
        self._types = _types_of(app.workflows.values())

    def types(self) -> list[type[WorkflowRun]]:
        """The implementations of the interface."""
        return [*self._types.values(), UnknownWorkflowRun]

    def names(self) -> dict[str, str]:
        """The GraphQL names that are taken, with what takes them."""
        own = (WorkflowRun, UnknownWorkflowRun, WorkflowJobRun, WorkflowRunEdge, WorkflowRunConnection, PageInfo)
        taken = [type_.__name__ for type_ in own] + ["WorkflowRunStatus", "WorkflowJobRunStatus"]
        return dict.fromkeys(taken, "a type of gqlplugin") | {
            type_.__name__: f"the runs of workflow {name!r}" for name, type_ in self._types.items()
        }

    def queries(self) -> list[StrawberryField]:
        """`workflowRun` and `workflowRuns`."""

        async def workflow_run(id: strawberry.ID) -> WorkflowRun | None:
            return self._shown([await self._find(id)])[0]

        async def workflow_runs(
            workflow_name: Annotated[
                str | None, strawberry.argument(description="Only those of this workflow.")
            ] = None,
            status: Annotated[
                ExecutionStatus | None, strawberry.argument(description="Only those that are so.")
            ] = None,
            first: Annotated[int, strawberry.argument(description=f"How many, at most {MAX_PAGE}.")] = 20,
            after: Annotated[
                str | None, strawberry.argument(description="The cursor of the run to go on after.")
            ] = None,
        ) -> WorkflowRunConnection:
            return await self._page(ExecutionFilter(workflow_name=workflow_name, status=status), first, after)

        return [
            strawberry.field(workflow_run, description="A run by its ID."),
            strawberry.field(workflow_runs, description="The runs that the caller may list, newest first."),
        ]

    def mutations(self) -> list[StrawberryField]:
        """`resumeWorkflowRun`."""

        async def resume_workflow_run(id: strawberry.ID) -> WorkflowRun:
            binding = current_binding()
            run = await self._find(id)
            if not await decided(self._policy.may_resume(binding.user, run)):
                raise ForbiddenError("You may not resume this workflow run.")
            await binding.platform.resume(run.id)
            return self._shown([await binding.platform.get_execution(run.id)])[0]

        description = "Run a failed run again, under the same ID. Jobs that succeeded are not run again."
        return [strawberry.mutation(resume_workflow_run, description=description)]

    async def _find(self, run_id: str) -> WorkflowExecution:
        binding = current_binding()
        if _is_run_id(run_id):
            try:
                run = await binding.platform.get_execution(run_id)
            except NotFoundError:
                pass  # answered below, exactly as for a run that the caller may not see
            else:
                if await decided(self._policy.may_see(binding.user, run)):
                    return run
        raise NotFoundError("There is no such workflow run.")

    async def _page(self, where: ExecutionFilter, first: int, after: str | None) -> WorkflowRunConnection:
        if not 1 <= first <= MAX_PAGE:
            raise InvalidInputError(problems=[FieldProblem(("first",), f"It must be from 1 to {MAX_PAGE}.")])
        binding = current_binding()
        both = _both(where, await decided(self._policy.listing(binding.user)))
        if both is None:
            return _connection([], [], has_next=False, has_previous=after is not None)
        page = await binding.platform.list_executions(both, first=first, after=after)
        return _connection(
            self._shown(page.executions), page.cursors, has_next=page.has_next, has_previous=after is not None
        )

    def _shown(self, executions: Sequence[WorkflowExecution]) -> list[WorkflowRun]:
        jobs = JobsOfPage(current_binding().platform, [execution.id for execution in executions])
        return [
            self._types.get(execution.workflow_name, UnknownWorkflowRun)(
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
                jobs_of_page=jobs,
            )
            for execution in executions
        ]


def _connection(
    runs: Sequence[WorkflowRun], cursors: Sequence[str], *, has_next: bool, has_previous: bool
) -> WorkflowRunConnection:
    return WorkflowRunConnection(
        edges=[WorkflowRunEdge(cursor=cursor, node=run) for cursor, run in zip(cursors, runs, strict=True)],
        page_info=PageInfo(
            has_next_page=has_next,
            has_previous_page=has_previous,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )


def _both(asked: ExecutionFilter, allowed: ExecutionFilter) -> ExecutionFilter | None:
    """What fits two filters; None when nothing can."""
    given = {field.name: getattr(asked, field.name) for field in fields(asked)}
    for name, value in given.items():
        limit = getattr(allowed, name)
        if None not in (value, limit) and value != limit:
            return None
    return replace(allowed, **{name: value for name, value in given.items() if value is not None})


def _is_run_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _job_run(job: JobExecution) -> WorkflowJobRun:
    return WorkflowJobRun(
        id=strawberry.ID(job.id),
        name=job.name,
        stacked_name=job.stacked_name,
        status=job.status,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=job.error.message if job.error else None,
        logs=list(job.logs),
        result=None if job.result is None else from_json(job.result),
        progress=job.progress.fraction if job.progress else None,
        progress_message=job.progress.message if job.progress else None,
    )


def _types_of(workflows: Iterable[Workflow[Any, Any]]) -> dict[str, type[WorkflowRun]]:
    types: dict[str, type[WorkflowRun]] = {}
    owners: dict[str, str] = {UnknownWorkflowRun.__name__: "gqlplugin's own type for runs without a workflow"}
    problems: list[str] = []
    for workflow in workflows:
        name = f"{pascal_case(workflow.name)}Run"
        what = f"the runs of workflow {workflow.name!r} ({workflow.source})"
        if name in owners:
            problems.append(f"two GraphQL types are named {name!r}: {owners[name]}, and {what}")
        owners[name] = what
        types[workflow.name] = _run_type(name, workflow)
    if problems:
        raise DefinitionError(problems)
    return types


def _run_type(name: str, workflow: Workflow[Any, Any]) -> type[WorkflowRun]:
    output = workflow.main_job.output if workflow.main_job else JsonCodec(Any)
    members = {
        "input": _value_field(workflow, "input", workflow.input, "What it was started with."),
        "output": _value_field(workflow, "output", output, "What it returned."),
    }
    body = {"__module__": __name__, "__annotations__": {}, **{k: field for k, field in members.items() if field}}
    return strawberry.type(type(name, (WorkflowRun,), body), description=f"A run of workflow `{workflow.name}`.")


def _value_field(
    workflow: Workflow[Any, Any], what: Literal["input", "output"], codec: JsonCodec[Any], description: str
) -> StrawberryField | None:
    """A field for the stored input or output, or None when there is nothing in it but null."""
    if codec.type in (None, type(None)):
        return None
    annotation, convert = _as_graphql(codec)

    def value(self: WorkflowRun) -> Any:
        text = getattr(self.execution, what)
        try:
            return None if text is None else convert(text)
        except ValidationError as error:
            raise FailedPreconditionError(
                f"The {what} of this run doesn't fit workflow {workflow.name!r} any more: {describe(error)}."
            ) from None

    return strawberry.field(value, graphql_type=Optional[annotation], description=description)  # noqa: UP045 - no `|`


def _as_graphql(codec: JsonCodec[Any]) -> tuple[Any, Callable[[str], Any]]:
    """The GraphQL type of stored values, and how they are read; what GraphQL has no type for is shown as JSON."""
    try:
        annotation = output_annotation(codec.type)
        convert = output_converter(codec.type)
    except DefinitionError:
        return JSON, from_json
    return annotation, lambda text: codec.load(text) if convert is None else convert(codec.load(text))


def typed_values(app: App) -> list[Any]:
    """The annotations of inputs and outputs that have a GraphQL type, for `check_type_names`."""
    codecs = [codec for workflow in app.workflows.values() for codec in _codecs_of(workflow)]
    return [codec.type for codec in codecs if _as_graphql(codec)[0] is not JSON]


def _codecs_of(workflow: Workflow[Any, Any]) -> list[JsonCodec[Any]]:
    codecs = [workflow.input, workflow.main_job.output if workflow.main_job else JsonCodec(Any)]
    return [codec for codec in codecs if codec.type not in (None, type(None))]
