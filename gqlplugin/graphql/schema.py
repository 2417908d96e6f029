"""A Strawberry schema from an app."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import strawberry
from graphql import GraphQLError
from strawberry.exceptions import DuplicatedTypeName
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.base import has_object_definition
from strawberry.types.field import StrawberryField
from strawberry.types.graphql import OperationType

from gqlplugin.app import App
from gqlplugin.checks import check_type
from gqlplugin.errors import DefinitionError
from gqlplugin.graphql.executors import Executors
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.idempotency_keys import idempotent
from gqlplugin.graphql.introspection import show_defaults
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.policy import CallerPolicy, RunPolicy, check_policy
from gqlplugin.graphql.response_limits import CountingExecutor
from gqlplugin.graphql.runs import Runs, stored_codecs
from gqlplugin.graphql.schema_operations import problems_with
from gqlplugin.graphql.types import SCALAR_MAP, check_type_names, typed
from gqlplugin.graphql.wait_points import Waits, mutation_name
from gqlplugin.platform.base import Platform
from gqlplugin.resolver import Operation

_OURS = "gqlplugin's own, for runs, executors and wait points"

Extension = type[SchemaExtension] | Callable[[], SchemaExtension]


class WorkflowSchema(strawberry.Schema):
    """A Strawberry schema whose errors are logged once, by `WorkflowExtension`, and not by Strawberry as well."""

    def get_extensions(self, sync: bool = False) -> list[SchemaExtension]:  # noqa: ARG002 - Strawberry's own
        """Those of the schema, without Strawberry's for directives: our directive needs no hook around every field."""
        given: Sequence[Extension | SchemaExtension] = self.extensions  # instances are deprecated, and still taken
        return [one if isinstance(one, SchemaExtension) else one() for one in given]

    async def execute(  # noqa: PLR0917 - Strawberry's own
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Run a query or a mutation; Strawberry would run a subscription as if it was one of them."""
        return await super().execute(
            query,
            variable_values,
            context_value,
            root_value,
            operation_name,
            set(allowed_operation_types or OperationType) - {OperationType.SUBSCRIPTION},
            operation_extensions,
        )

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Leave the errors to the extension."""


def create_schema(
    app: App,
    *,
    query: type | None = None,
    mutation: type | None = None,
    subscription: type | None = None,
    types: Iterable[type] = (),
    policy: RunPolicy | None = None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    extensions: Sequence[Extension] = (),
    config: StrawberryConfig | None = None,
    platform: Platform | None = None,
) -> WorkflowSchema:
    """Make the GraphQL schema of an app: its resolvers, and the fields to follow, list and steer its runs.

    Args:
        app: The definitions. With workflows or executors, the schema has `workflowRun`, `workflowRuns`,
            `workflowRunUpdates`, `resumeWorkflowRun` and `cancelWorkflowRun`; with executors `executors` and
            `executorJobs` as well; with wait points `pendingWaitPoints`, and `resolve<Name>` for each.
        query: A Strawberry type of yours, whose fields are added.
        mutation: The same for mutations.
        subscription: The same for subscriptions.
        types: More types, such as implementations of your interfaces.
        policy: Who may do what with which run, and who may see the executors; `CallerPolicy()` by default.
        limits: What an operation may cost.
        extensions: Strawberry's, as classes or factories.
        config: Strawberry's.
        platform: Where workflows start, unless the view says so, as that of `create_asgi` does.

    Raises:
        DefinitionError: Two fields or two types have the same name, GraphQL has nothing for an annotation, the policy
            lacks a method, or the config asks for what breaks the schema.
    """
    check_type("create_schema", "app", app, App, "what define_app(...) makes")
    config = config or StrawberryConfig()
    _check_config(config)
    own = _Own(app, policy or CallerPolicy())
    queries = _fields(app, "query", own.queries(), config)
    mutations = _fields(app, "mutation", own.mutations(), config)
    if query is None and not queries:
        queries.append(_app_name(app))
    try:
        schema = WorkflowSchema(
            cast(type, _root("Query", query, queries, app, config)),
            _root("Mutation", mutation, mutations, app, config),
            _root("Subscription", subscription, own.subscriptions(), app, config),
            types=[*types, *own.types()],
            directives=[idempotent],
            execution_context_class=CountingExecutor,
            extensions=[partial(WorkflowExtension, app, platform, limits=limits), *extensions],
            config=replace(config, scalar_map={**SCALAR_MAP, **config.scalar_map}),
        )
    except DuplicatedTypeName as error:
        both = " and ".join(
            f"{one.__module__}.{one.__qualname__}" for one in (error.first_cls, error.second_cls) if one
        )
        raise DefinitionError(f"{error.message}: {both}.") from error
    show_defaults(schema._schema)  # noqa: SLF001 - Strawberry has no other way to it
    check_operations(schema, app)
    return schema


class _Own:
    """What the schema of an app has besides its resolvers, as far as the app has use for it."""

    def __init__(self, app: App, policy: RunPolicy) -> None:
        check_policy(policy)
        self._runs = Runs(app, policy) if app.workflows or app.executors or app.wait_points else None
        self._executors = Executors(app, policy) if app.executors else None
        names = {one: what for part in (self._runs, self._executors) if part for one, what in part.names().items()}
        codecs = stored_codecs(app)
        self._waits = Waits(app, policy, self._runs, names) if self._runs and app.wait_points else None
        if self._waits:
            names |= self._waits.names()
            codecs += self._waits.payloads()
        answers = self._waits.inputs() if self._waits else []
        check_type_names([*app.resolvers.values(), *answers], typed(codecs), reserved=names)

    def queries(self) -> list[StrawberryField]:
        return [field for part in (self._runs, self._executors, self._waits) if part for field in part.queries()]

    def mutations(self) -> list[StrawberryField]:
        return [field for part in (self._runs, self._waits) if part for field in part.mutations()]

    def subscriptions(self) -> list[StrawberryField]:
        return self._runs.subscriptions() if self._runs else []

    def types(self) -> list[type]:
        return [type_ for part in (self._runs, self._waits) if part for type_ in part.types()]


def check_operations(schema: strawberry.Schema, app: App) -> None:
    """Refuse executors whose GraphQL operations the schema refuses.

    Raises:
        DefinitionError: With every problem.
    """
    if problems := problems_with(schema, app):
        raise DefinitionError(problems)


def _check_config(config: StrawberryConfig) -> None:
    if config.sort_schema:
        raise DefinitionError(
            "StrawberryConfig(sort_schema=True) breaks the execution of a schema: sort what you print instead, with "
            "graphql.lexicographic_sort_schema."
        )
    if config.enable_experimental_incremental_execution:
        raise DefinitionError(
            "StrawberryConfig(enable_experimental_incremental_execution=True) lets errors out unmasked: leave it off."
        )


def _fields(
    app: App, operation: Operation, ours: list[StrawberryField], config: StrawberryConfig
) -> list[StrawberryField]:
    """The resolvers of an operation, and our own fields, of which Strawberry would take those of the same name."""
    resolvers = [resolver for resolver in app.resolvers.values() if resolver.operation == operation]
    names = {config.name_converter.get_graphql_name(field) for field in ours}
    if clashing := [one for one in resolvers if one.name in names]:
        raise DefinitionError(
            [
                f"two fields are named {one.name!r}: resolver {one.name!r} ({one.source}), and {_owner(app, one.name)}"
                for one in clashing
            ]
        )
    return [*(resolver.field() for resolver in resolvers), *ours]


def _app_name(app: App) -> StrawberryField:
    """The one query of an app that has none, as GraphQL demands one."""

    def app_name() -> str:
        return app.name

    return strawberry.field(app_name, description="The name of the app.")


def _root(
    name: str, own: type | None, fields: list[StrawberryField], app: App, config: StrawberryConfig
) -> type | None:
    """The root type with the fields of the user's own type, and ours."""
    if own is None:
        return create_type(name, fields) if fields else None
    if not has_object_definition(own):
        raise DefinitionError(f"{own.__module__}.{own.__qualname__} is not a @strawberry.type.")
    if not fields:
        return own
    definition = own.__strawberry_definition__
    _check_fields(own, definition.fields, fields, app, config)
    merged = type(own.__name__, (own, create_type(name, fields)), {"__module__": own.__module__})
    return strawberry.type(
        merged, name=definition.name, description=definition.description, directives=definition.directives or ()
    )


def _check_fields(
    own: type, theirs: Iterable[StrawberryField], ours: Iterable[StrawberryField], app: App, config: StrawberryConfig
) -> None:
    """Refuse two fields with one name, of which Strawberry would take one."""
    name_of = config.name_converter.get_graphql_name
    taken = {key for field in theirs for key in (name_of(field), field.python_name)}
    problems = []
    for field in ours:
        name = name_of(field)
        if taken & {name, field.python_name}:
            resolver = app.resolvers.get(name)
            what = f"resolver {name!r} ({resolver.source})" if resolver else _owner(app, name)
            problems.append(f"two fields are named {name!r}: that of {own.__module__}.{own.__qualname__}, and {what}")
    if problems:
        raise DefinitionError(problems)


def _owner(app: App, name: str) -> str:
    """What a field of ours is called in a message."""
    for point in app.wait_points.values():
        if mutation_name(point) == name:
            return f"the one that answers wait point {point.name!r} ({point.source})"
    return _OURS
