"""Wait points as GraphQL: a mutation that answers each, and the list of runs that wait."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import strawberry
from strawberry.types.field import StrawberryField

from gqlplugin.app import App
from gqlplugin.codec import JsonCodec
from gqlplugin.errors import DefinitionError, ForbiddenError
from gqlplugin.execution import ExecutionFilter, ExecutionStatus, PendingWait, WaitFilter
from gqlplugin.graphql.answers import Answer, AnswerInput
from gqlplugin.graphql.arguments import set_defaults
from gqlplugin.graphql.budget import selected_values
from gqlplugin.graphql.connections import IS_PAGE, After, First, check_first, page_info
from gqlplugin.graphql.pending import (
    OWN_TYPES,
    PendingWaitPoint,
    PendingWaitPointConnection,
    PendingWaitPointEdge,
    UnknownPendingWaitPoint,
    pending_types,
)
from gqlplugin.graphql.policy import RunPolicy, decided
from gqlplugin.graphql.runs import Runs
from gqlplugin.graphql.workflow_run import WorkflowRun
from gqlplugin.names import pascal_case
from gqlplugin.platform.base import current_binding
from gqlplugin.wait_point import WaitPoint


class Waits:
    """The wait points of an app: their types, and the root fields.

    Args:
        app: The definitions.
        policy: Who may list and answer which run.
        runs: Shows the runs.
        reserved: Names of types that the schema has besides, with what to call those in a message.

    Raises:
        DefinitionError: Two types or arguments would have the same name, or GraphQL has nothing for one.
    """

    def __init__(self, app: App, policy: RunPolicy, runs: Runs, reserved: Mapping[str, str]) -> None:
        self._policy = policy
        self._runs = runs
        self._points = app.wait_points
        own = dict.fromkeys((one.__name__ for one in OWN_TYPES), "a type of gqlplugin")
        self._answers = _answers_of(self._points.values())
        self._types = pending_types(self._points.values(), {**reserved, **own})
        self._names = own | {type_.__name__: f"the waits at {name!r}" for name, type_ in self._types.items()}

    def types(self) -> list[type[PendingWaitPoint]]:
        """The implementations of the interface."""
        return [*self._types.values(), UnknownPendingWaitPoint]

    def names(self) -> dict[str, str]:
        """The GraphQL names that are taken, with what takes them."""
        return self._names

    def inputs(self) -> list[AnswerInput]:
        """What answers are made of, for the check of type names."""
        return [answer.typed for answer in self._answers.values()]

    def payloads(self) -> list[JsonCodec[Any]]:
        """What reads the payloads, for the check of type names."""
        return [point.payload for point in self._points.values()]

    def queries(self) -> list[StrawberryField]:
        """`pendingWaitPoints`."""

        async def pending_wait_points(
            info: strawberry.Info,
            name: Annotated[str | None, strawberry.argument(description="Only those of this wait point.")] = None,
            first: First = 20,
            after: After = None,
        ) -> PendingWaitPointConnection:
            return await self._page(name, first, after, info)

        description = "The runs that wait for an answer and that the caller may list, the longest wait first."
        return [strawberry.field(pending_wait_points, description=description, metadata=IS_PAGE)]

    def mutations(self) -> list[StrawberryField]:
        """`resolve<Name>` for each wait point."""
        return [self._mutation(point) for point in self._points.values()]

    def _mutation(self, point: WaitPoint[Any, Any]) -> StrawberryField:
        answer = self._answers[point.name]

        async def resolve(
            info: strawberry.Info, _run_id: str, _wait_id: str | None = None, **given: Any
        ) -> WorkflowRun:
            text = answer.text(given, info)
            binding = current_binding()
            run = await self._runs.find(_run_id)
            if not await decided(self._policy.may_resolve(binding.user, run, point.name)):
                raise ForbiddenError(f"You may not answer wait point {point.name!r} of this workflow run.")
            await binding.platform.resolve(run.id, point.name, text, job_id=_wait_id)
            return await self._runs.now(run.id, info)

        resolve.__name__ = mutation_name(point)  # fields of one Python name would replace each other
        resolve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # functions may have one
            [*_OWN_PARAMETERS, *answer.parameters()], return_annotation=WorkflowRun
        )
        description = f"Answer a run that waits at `{point.name}`. Of several answers, one is taken."
        field = strawberry.mutation(resolve, name=mutation_name(point), description=description)
        set_defaults(field, answer.arguments)
        return field

    async def _page(
        self, name: str | None, first: int, after: str | None, info: strawberry.Info
    ) -> PendingWaitPointConnection:
        check_first(first)
        binding = current_binding()
        allowed = await decided(self._policy.listing(binding.user))
        if not _may_wait(allowed):
            return PendingWaitPointConnection(edges=[], page_info=page_info((), has_next=False, after=after))
        where = WaitFilter(
            name=name,
            workflow_name=allowed.workflow_name,
            caller_id=allowed.caller_id,
            values=selected_values(info),
        )
        page = await binding.platform.list_waits(where, first=first, after=after)
        nodes = zip(page.cursors, self._shown(page.waits, info), strict=True)
        return PendingWaitPointConnection(
            edges=[PendingWaitPointEdge(cursor=cursor, node=node) for cursor, node in nodes],
            page_info=page_info(page.cursors, has_next=page.has_next, after=after),
        )

    def _shown(self, waits: Sequence[PendingWait], info: strawberry.Info) -> list[PendingWaitPoint]:
        runs = self._runs.shown([wait.execution for wait in waits], info)
        return [
            self._types.get(wait.name, UnknownPendingWaitPoint)(
                id=strawberry.ID(wait.job_id),
                run_id=run.id,
                name=wait.name,
                workflow_name=run.workflow_name,
                since=wait.since,
                expires_at=wait.expires_at,
                run=run,
                wait=wait,
                asked=self._may_resolve,
            )
            for wait, run in zip(waits, runs, strict=True)
        ]

    async def _may_resolve(self, wait: PendingWait) -> bool:
        if wait.name not in self._points:
            return False
        binding, run = current_binding(), wait.execution
        if run.left_out:  # a policy may look at anything
            run = await binding.platform.get_execution(run.id)
        return await decided(self._policy.may_resolve(binding.user, run, wait.name))


_RunID = Annotated[strawberry.ID, strawberry.argument(name="runId", description="The run that waits.")]
_WaitID = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        name="waitId",
        description="The `id` of the wait that is meant: if the run waits there once more by now, it is not answered.",
    ),
]
_OWN_PARAMETERS = (  # pydantic has no fields with such names, and no argument is named info
    inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=strawberry.Info),
    inspect.Parameter("_run_id", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=_RunID),
    inspect.Parameter("_wait_id", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=_WaitID, default=None),
)
_OWN_ARGUMENTS = ("runId", "waitId")


def mutation_name(point: WaitPoint[Any, Any]) -> str:
    """The field that answers a wait point."""
    return f"resolve{pascal_case(point.name)}"


def _may_wait(allowed: ExecutionFilter) -> bool:
    return allowed.status in (None, ExecutionStatus.WAITING)


def _answers_of(points: Iterable[WaitPoint[Any, Any]]) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    problems: list[str] = []
    for point in points:
        try:
            answers[point.name] = answer = Answer(point)
        except DefinitionError as error:
            problems += [f"the result of wait point {point.name!r} ({point.source}): {one}" for one in error.problems]
            continue
        problems += [
            f"mutation {mutation_name(point)!r} would have two arguments {one.graphql_name!r}: gqlplugin's own, and "
            f"{one.where}, of the result of wait point {point.name!r} ({point.source}); give the field an alias"
            for one in answer.arguments
            if one.graphql_name in _OWN_ARGUMENTS
        ]
    if problems:
        raise DefinitionError(problems)
    return answers
