"""Runs as GraphQL: one type per workflow, and the fields to read, list, follow, resume and cancel them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.relay import PageInfo
from strawberry.types.field import StrawberryField

from gqlplugin.app import App
from gqlplugin.checks import executor_of, pascal_case
from gqlplugin.codec import JsonCodec
from gqlplugin.errors import DefinitionError, ForbiddenError, NotFoundError
from gqlplugin.graphql.executors import ExecutorJob
from gqlplugin.graphql.pages import IS_PAGE, After, First, check_first, page_info
from gqlplugin.graphql.policy import FOR_CANCELING, FOR_READING, RunPolicy, decided, may_cancel, may_see
from gqlplugin.graphql.response_limits import selected_values, value_of
from gqlplugin.graphql.run_types import WorkflowJobRun, WorkflowRun, shown
from gqlplugin.graphql.types import stored_field
from gqlplugin.graphql.updates import UPDATE_NAMES, updates_field
from gqlplugin.platform.base import current_binding
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, WorkflowExecution
from gqlplugin.workflow import Workflow


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
        return [*self._types.values(), UnknownWorkflowRun, ExecutorJob]

    def names(self) -> dict[str, str]:
        """The GraphQL names that are taken, with what takes them."""
        own = (WorkflowRun, UnknownWorkflowRun, ExecutorJob, WorkflowJobRun, WorkflowRunEdge, WorkflowRunConnection)
        taken = [type_.__name__ for type_ in (*own, PageInfo)] + ["WorkflowRunStatus", "WorkflowJobRunStatus"]
        taken += UPDATE_NAMES
        return dict.fromkeys(taken, "a type of gqlplugin") | {
            type_.__name__: f"the runs of workflow {name!r}" for name, type_ in self._types.items()
        }

    def queries(self) -> list[StrawberryField]:
        """`workflowRun` and `workflowRuns`."""

        async def workflow_run(info: strawberry.Info, id: strawberry.ID) -> WorkflowRun | None:
            return self.shown([await self.find(id)], info)[0]

        async def workflow_runs(
            info: strawberry.Info,
            workflow_name: Annotated[
                str | None, strawberry.argument(description="Only those of this workflow.")
            ] = None,
            status: Annotated[
                ExecutionStatus | None, strawberry.argument(description="Only those that are so.")
            ] = None,
            first: First = 20,
            after: After = None,
        ) -> WorkflowRunConnection:
            where = ExecutionFilter(workflow_name=workflow_name, status=status, values=selected_values(info))
            return await self._page(where, first, after, info)

        return [
            strawberry.field(workflow_run, description="A run by its ID.", metadata=FOR_READING),
            strawberry.field(
                workflow_runs, description="The runs that the caller may list, newest first.", metadata=IS_PAGE
            ),
        ]

    def mutations(self) -> list[StrawberryField]:
        """`resumeWorkflowRun` and `cancelWorkflowRun`."""

        async def resume_workflow_run(info: strawberry.Info, id: strawberry.ID) -> WorkflowRun:
            binding = current_binding()
            run = await self.find(id)
            if not await decided(self._policy.may_resume(binding.user, run)):
                raise ForbiddenError("You may not resume this workflow run.")
            await binding.platform.resume(run.id)
            return await self.now(run.id, info)

        async def cancel_workflow_run(info: strawberry.Info, id: strawberry.ID) -> WorkflowRun:
            binding = current_binding()
            run = await self.find(id)
            if not await may_cancel(self._policy, binding, run):
                raise ForbiddenError("You may not cancel this workflow run.")
            await binding.platform.cancel(run.id)
            return await self.now(run.id, info)

        resume = "Run a failed or canceled run again, under the same ID. Jobs that succeeded are not run again."
        cancel = "End a run that has not ended. One that is RUNNING is CANCELED once its jobs have stopped."
        return [
            strawberry.mutation(resume_workflow_run, description=resume),
            strawberry.mutation(cancel_workflow_run, description=cancel, metadata=FOR_CANCELING),
        ]

    def subscriptions(self) -> list[StrawberryField]:
        """`workflowRunUpdates`."""
        return [updates_field(self.find, self._type_of)]

    async def find(self, run_id: str) -> WorkflowExecution:
        """A run that the caller of the operation may see.

        Raises:
            NotFoundError: There is none: one that they may not see does not exist for them.
        """
        binding = current_binding()
        if _is_run_id(run_id):
            try:
                run = await binding.platform.get_execution(run_id)
            except NotFoundError:
                pass  # answered below, exactly as for a run that the caller may not see
            else:
                if await may_see(self._policy, binding, run):
                    return run
        raise NotFoundError("There is no such workflow run.")

    async def now(self, run_id: str, info: strawberry.Info) -> WorkflowRun:
        """A run that the caller may see, as it is now."""
        return self.shown([await current_binding().platform.get_execution(run_id)], info)[0]

    async def _page(
        self, where: ExecutionFilter, first: int, after: str | None, info: strawberry.Info
    ) -> WorkflowRunConnection:
        check_first(first)
        binding = current_binding()
        both = _both(where, await decided(self._policy.listing(binding.user)))
        if both is None:
            return WorkflowRunConnection(edges=[], page_info=page_info((), has_next=False, after=after))
        page = await binding.platform.list_executions(both, first=first, after=after)
        runs = zip(page.cursors, self.shown(page.executions, info), strict=True)
        return WorkflowRunConnection(
            edges=[WorkflowRunEdge(cursor=cursor, node=run) for cursor, run in runs],
            page_info=page_info(page.cursors, has_next=page.has_next, after=after),
        )

    def shown(self, executions: Sequence[WorkflowExecution], info: strawberry.Info) -> list[WorkflowRun]:
        """Runs as GraphQL, whose jobs are read together, for the field that returns them."""
        return shown(current_binding().platform, executions, self._type_of, info)

    def _type_of(self, execution: WorkflowExecution) -> type[WorkflowRun]:
        if executor_of(execution.workflow_name) is not None:
            return ExecutorJob
        return self._types.get(execution.workflow_name, UnknownWorkflowRun)


def _both(asked: ExecutionFilter, allowed: ExecutionFilter) -> ExecutionFilter | None:
    """What fits two filters, in the order of the first; None when nothing can."""
    given = {name: getattr(asked, name) for name in ("workflow_name", "status", "caller_id")}
    for name, value in given.items():
        limit = getattr(allowed, name)
        if None not in (value, limit) and value != limit:
            return None
    firings = asked.firings and allowed.firings
    narrowed = replace(allowed, firings=firings, oldest_first=asked.oldest_first, values=asked.values)
    return replace(narrowed, **{name: value for name, value in given.items() if value is not None})


def _is_run_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


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
    fields = {
        what: stored_field(
            codec,
            partial(_stored, what),
            misfit=f"The {what} of this run doesn't fit workflow {workflow.name!r} any more",
            description=description,
        )
        for what, codec, description in (
            ("input", workflow.input, "What it was started with."),
            ("output", _output_of(workflow), "What it returned."),
        )
    }
    body = {"__module__": __name__, "__annotations__": {}, **{what: field for what, field in fields.items() if field}}
    return strawberry.type(type(name, (WorkflowRun,), body), description=f"A run of workflow `{workflow.name}`.")


def _stored(what: str, run: WorkflowRun) -> str | None:
    text: str | None = value_of(run.execution, what)
    return text


def stored_codecs(app: App) -> list[JsonCodec[Any]]:
    """What reads the inputs and outputs of the runs, for the check of type names."""
    return [codec for workflow in app.workflows.values() for codec in (workflow.input, _output_of(workflow))]


def _output_of(workflow: Workflow[Any, Any]) -> JsonCodec[Any]:
    return workflow.main_job.output if workflow.main_job else JsonCodec(Any)
