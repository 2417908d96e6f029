"""Executors as GraphQL: what there is, and what each of them did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import strawberry
from strawberry.relay import PageInfo
from strawberry.types.field import StrawberryField

from gqlplugin.app import App
from gqlplugin.checks import executor_of, firing_name
from gqlplugin.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from gqlplugin.executor import definition
from gqlplugin.executor.definition import arguments_hash_of, attempts_of, next_time_of, outcome_of
from gqlplugin.executor.operation import FiringOutcome
from gqlplugin.graphql.pages import IS_PAGE, After, First, check_first, page_info
from gqlplugin.graphql.policy import RunPolicy, decided
from gqlplugin.graphql.response_limits import parse_for_answer, selected_values, value_of
from gqlplugin.graphql.run_types import WorkflowRun, shown
from gqlplugin.platform.base import Binding, current_binding
from gqlplugin.runs import ExecutionFilter


@strawberry.enum(description="What executors wait for.")
class ExecutorTriggerKind(StrEnum):
    """The kinds of triggers."""

    SCHEDULE = "schedule"
    INCOMING_WEBHOOK = "incoming-webhook"
    RECORD_CREATED = "record-created"
    RECORD_UPDATED = "record-updated"
    RECORD_DELETED = "record-deleted"
    RESOLVER_EXECUTED = "resolver-executed"


@strawberry.enum(description="What executors do.")
class ExecutorOperationKind(StrEnum):
    """The kinds of operations."""

    WORKFLOW = "workflow"
    FUNCTION = "function"
    GRAPHQL = "graphql"
    WEBHOOK = "webhook"


def _next_time(root: strawberry.Parent[Executor]) -> datetime | None:
    return next_time_of(root.defined, datetime.now(UTC))


@strawberry.type(description="Something that happens by itself.")
class Executor:
    """An executor as GraphQL."""

    name: str
    description: str
    disabled: bool = strawberry.field(description="Nothing fires it.")
    trigger_kind: ExecutorTriggerKind
    trigger_detail: str = strawberry.field(description="What exactly it waits for, for people.")
    operation_kind: ExecutorOperationKind
    operation_detail: str = strawberry.field(description="What exactly it does, for people.")
    defined: strawberry.Private[definition.Executor[Any]]

    next_time: datetime | None = strawberry.field(resolver=_next_time, description="When a schedule fires next.")


def _executor(root: strawberry.Parent[ExecutorJob]) -> str:
    return executor_of(root.workflow_name) or ""


def _arguments_hash(root: strawberry.Parent[ExecutorJob]) -> str:
    parse_for_answer(value_of(root.execution, "input"))
    return arguments_hash_of(root.execution)


def _attempts(root: strawberry.Parent[ExecutorJob]) -> int:
    return attempts_of(root.execution)


def _outcome(root: ExecutorJob) -> FiringOutcome | None:
    text = value_of(root.execution, "output")
    if text is not None:
        parse_for_answer(text)
    return outcome_of(root.execution)


def _skipped(root: strawberry.Parent[ExecutorJob]) -> bool:
    outcome = _outcome(root)
    return outcome is not None and outcome.skipped


def _workflow_run_id(root: strawberry.Parent[ExecutorJob]) -> strawberry.ID | None:
    outcome = _outcome(root)
    return None if outcome is None or outcome.workflow_run_id is None else strawberry.ID(outcome.workflow_run_id)


@strawberry.type(description="What an executor did, once.")
class ExecutorJob(WorkflowRun):
    """A firing as GraphQL: a run, whose arguments stay with the operators of the platform."""

    executor: str = strawberry.field(
        resolver=_executor, description="The name of the executor, which the app may no longer have."
    )
    arguments_hash: str = strawberry.field(
        resolver=_arguments_hash,
        description="The SHA-256 of the arguments, in hexadecimal: equal for equal arguments.",
    )
    attempts: int = strawberry.field(
        resolver=_attempts, description="How many tries have begun, since it was fired or resumed."
    )
    skipped: bool = strawberry.field(resolver=_skipped, description="The condition was not met, and nothing was done.")
    workflow_run_id: strawberry.ID | None = strawberry.field(
        resolver=_workflow_run_id, description="The run that it started."
    )


@strawberry.type(description="What an executor did, and where it is in the list.")
class ExecutorJobEdge:
    """An edge (Relay's cursor connections specification)."""

    cursor: str
    node: ExecutorJob


@strawberry.type(description="A page of what an executor did, newest first.")
class ExecutorJobConnection:
    """A connection (Relay's cursor connections specification)."""

    edges: list[ExecutorJobEdge]
    page_info: PageInfo


class Executors:
    """The executors of an app, as root fields."""

    def __init__(self, app: App, policy: RunPolicy) -> None:
        self._app = app
        self._policy = policy

    @staticmethod
    def names() -> dict[str, str]:
        """The GraphQL names that are taken, with what takes them."""
        own = (Executor, ExecutorJob, ExecutorJobEdge, ExecutorJobConnection, ExecutorTriggerKind)
        return dict.fromkeys((type_.__name__ for type_ in (*own, ExecutorOperationKind)), "a type of gqlplugin")

    def queries(self) -> list[StrawberryField]:
        """`executors` and `executorJobs`."""

        async def executors() -> list[Executor]:
            await self._operating()
            return [_shown(one) for one in self._app.executors.values()]

        async def executor_jobs(
            info: strawberry.Info, executor: str, first: First = 20, after: After = None
        ) -> ExecutorJobConnection:
            return await self._page(executor, first, after, info)

        return [
            strawberry.field(executors, description="What happens by itself; for operators."),
            strawberry.field(
                executor_jobs, description="What an executor did, newest first; for operators.", metadata=IS_PAGE
            ),
        ]

    async def _page(self, name: str, first: int, after: str | None, info: strawberry.Info) -> ExecutorJobConnection:
        binding = await self._operating()
        if name not in self._app.executors:
            raise NotFoundError("There is no such executor.")
        check_first(first)
        where = ExecutionFilter(workflow_name=firing_name(name), values=selected_values(info))
        page = await binding.platform.list_executions(where, first=first, after=after)
        jobs: Sequence[ExecutorJob] = shown(binding.platform, page.executions, lambda _: ExecutorJob, info)
        return ExecutorJobConnection(
            edges=[ExecutorJobEdge(cursor=cursor, node=job) for cursor, job in zip(page.cursors, jobs, strict=True)],
            page_info=page_info(page.cursors, has_next=page.has_next, after=after),
        )

    async def _operating(self) -> Binding:
        """The binding of a caller who may operate."""
        binding = current_binding()
        if await decided(self._policy.may_operate(binding.user)):
            return binding
        if binding.user.is_anonymous:
            raise UnauthenticatedError("Seeing the executors needs a caller: authenticate first.")
        raise ForbiddenError("You may not see the executors.")


def _shown(one: definition.Executor[Any]) -> Executor:
    return Executor(
        name=one.name,
        description=one.description,
        disabled=one.disabled,
        trigger_kind=ExecutorTriggerKind(one.trigger.kind),
        trigger_detail=one.trigger.detail,
        operation_kind=ExecutorOperationKind(one.operation.kind),
        operation_detail=one.operation.detail,
        defined=one,
    )
