"""Wait points in GraphQL: pending waits, their types, and the mutations that answer them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import strawberry
from pydantic import BaseModel, RootModel, ValidationError, create_model
from pydantic_core import from_json, to_json
from strawberry.relay import PageInfo
from strawberry.scalars import JSON
from strawberry.types.field import StrawberryField

from gqlplugin.app import App
from gqlplugin.checks import Source, pascal_case
from gqlplugin.codec import JsonCodec, describe, encode
from gqlplugin.errors import DefinitionError, FieldProblem, ForbiddenError, InvalidInputError
from gqlplugin.graphql.pages import IS_PAGE, After, First, check_first, page_info
from gqlplugin.graphql.policy import RunPolicy, decided
from gqlplugin.graphql.resolver_field import InputReader, parameter_of, set_defaults
from gqlplugin.graphql.response_limits import parse_for_answer, selected_values, value_of
from gqlplugin.graphql.run_types import WorkflowRun
from gqlplugin.graphql.runs import Runs
from gqlplugin.graphql.types import stored_field
from gqlplugin.models.fields import ModelField, arguments_of
from gqlplugin.platform.base import current_binding
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, PendingWait, WaitFilter
from gqlplugin.wait_point import WaitPoint

_RESULT = "result"


@dataclass(frozen=True, slots=True)
class AnswerInput:
    """The arguments of an answer, for the check of type names."""

    name: str
    source: Source
    input: type[BaseModel] | None
    output: None = None


class Answer:
    """How a wait point is answered: by the fields of its result, or by one argument `result` when that is no model.

    A result that GraphQL has no input for, such as a union, is one argument of free-form JSON. None has no argument.

    Raises:
        DefinitionError: The model of the result has a field that GraphQL has nothing for.
    """

    def __init__(self, point: WaitPoint[Any, Any]) -> None:
        self._point = point
        self._name = f"resolve{pascal_case(point.name)}"
        self._is_json = False
        self._is_flat = _is_model(point.result.type)
        self._model = self._model_of_arguments()
        self.arguments: list[ModelField] = arguments_of(self._model)
        self._reader = InputReader(self._model, self.arguments) if self._model is not None else None

    @property
    def typed(self) -> AnswerInput:
        """What is typed of it."""
        return AnswerInput(self._name, self._point.source, self._model)

    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that Strawberry makes the arguments of."""
        return [parameter_of(one) for one in self.arguments]

    def text(self, given: Mapping[str, Any], info: strawberry.Info) -> str:
        """The answer as JSON text.

        Args:
            given: The arguments as Strawberry passes them.
            info: Of the field.

        Raises:
            InvalidInputError: It doesn't fit, with one problem per field that is wrong.
        """
        if self._reader is None:
            return "null"
        value: Any = self._reader.validate(given, info)
        if not self._is_flat:
            value = value.result
        if self._is_json:
            value = self._read(value)
        return encode(f"The result of wait point {self._point.name!r}", self._point.result, value)

    def _model_of_arguments(self) -> type[BaseModel] | None:
        type_: Any = self._point.result.type
        if type_ in (None, type(None)):
            return None
        if self._is_flat:
            model: type[BaseModel] = type_
            return model
        model = self._model_of_one(type_)
        try:
            arguments_of(model)
        except DefinitionError:
            self._is_json = True
            return self._model_of_one(Any)
        return model

    def _model_of_one(self, type_: Any) -> type[BaseModel]:
        fields: dict[str, Any] = {_RESULT: (type_, ...)}
        return create_model(pascal_case(self._name), __module__=__name__, **fields)

    def _read(self, value: object) -> object:
        try:
            return self._point.result.load(to_json(value))
        except ValidationError as error:
            problem = FieldProblem((_RESULT,), f"{describe(error)}.")
        raise InvalidInputError(problems=[problem])  # outside of the handler: pydantic's error shows the values


def _is_model(type_: object) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel) and not issubclass(type_, RootModel)


MayResolve = Callable[[PendingWait], Awaitable[bool]]


async def _may_resolve(root: strawberry.Parent[PendingWaitPoint]) -> bool:
    return await root.asked(root.wait)


def _payload(root: strawberry.Parent[PendingWaitPoint]) -> JSON | None:
    payload: JSON | None = from_json(parse_for_answer(value_of(root.wait, "payload")))
    return payload


@strawberry.interface(description="A run that waits for an answer. Each wait point has a type, with what was asked.")
class PendingWaitPoint:
    """A wait as GraphQL."""

    id: strawberry.ID = strawberry.field(description="The ID of this wait; it is that of a job of the run.")
    run_id: strawberry.ID
    name: str = strawberry.field(description="The name of the wait point.")
    workflow_name: str
    payload: JSON | None = strawberry.field(resolver=_payload, description="What the run tells those who answer.")
    since: datetime
    expires_at: datetime | None = strawberry.field(description="When it goes on without an answer, if ever.")
    run: WorkflowRun
    wait: strawberry.Private[PendingWait]
    asked: strawberry.Private[MayResolve]

    may_resolve: bool = strawberry.field(resolver=_may_resolve, description="Whether the caller may answer it.")


@strawberry.type(description="A run that waits at a wait point that this app no longer has.")
class UnknownPendingWaitPoint(PendingWaitPoint):
    """A wait that nobody can answer."""


@strawberry.type(description="A run that waits, and where it is in the list.")
class PendingWaitPointEdge:
    """An edge (Relay's cursor connections specification)."""

    cursor: str
    node: PendingWaitPoint


@strawberry.type(description="A page of runs that wait, the longest wait first.")
class PendingWaitPointConnection:
    """A connection (Relay's cursor connections specification)."""

    edges: list[PendingWaitPointEdge]
    page_info: PageInfo


OWN_TYPES = (PendingWaitPoint, UnknownPendingWaitPoint, PendingWaitPointEdge, PendingWaitPointConnection)


def pending_types(points: Iterable[WaitPoint[Any, Any]], taken: Mapping[str, str]) -> dict[str, type[PendingWaitPoint]]:
    """The types of the waits, by the names of the wait points.

    Args:
        points: The wait points.
        taken: Names of types that the schema has besides, with what to call those in a message.

    Raises:
        DefinitionError: Two types would have the same name.
    """
    types: dict[str, type[PendingWaitPoint]] = {}
    owners = dict(taken)
    problems: list[str] = []
    for point in points:
        name = f"Pending{pascal_case(point.name)}"
        what = f"the waits at wait point {point.name!r} ({point.source})"
        if name in owners:
            problems.append(f"two GraphQL types are named {name!r}: {owners[name]}, and {what}")
        owners[name] = what
        types[point.name] = _type_of(name, point)
    if problems:
        raise DefinitionError(problems)
    return types


def _type_of(name: str, point: WaitPoint[Any, Any]) -> type[PendingWaitPoint]:
    request = stored_field(
        point.payload,
        lambda pending: value_of(pending.wait, "payload"),
        misfit=f"The payload of this wait doesn't fit wait point {point.name!r} any more",
        description="What the run tells those who answer.",
    )
    body = {"__module__": __name__, "__annotations__": {}, **({"request": request} if request else {})}
    return strawberry.type(type(name, (PendingWaitPoint,), body), description=f"A run that waits at `{point.name}`.")


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
