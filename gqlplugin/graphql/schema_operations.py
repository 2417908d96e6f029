"""Runs operations of an app's own GraphQL API in process, for executors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, cast

import strawberry
from graphql import GraphQLError, specified_rules
from graphql.execution import get_variable_values
from strawberry.types import ExecutionResult

from gqlplugin.app import App
from gqlplugin.authentication.callers import caller_of
from gqlplugin.errors import FailedPreconditionError
from gqlplugin.executor.definition import Executor
from gqlplugin.executor.operation import GraphQLOperation, json_variables, operation_node, root_fields
from gqlplugin.executor.trigger import ResolverExecutedTrigger
from gqlplugin.graphql.extension import CONTEXT_KEY, limits_of
from gqlplugin.graphql.limits import find_exceeded
from gqlplugin.graphql.validation import find_invalid
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import Binding, Definitions, Platform, current_job
from gqlplugin.scope import enter_scope

_served: ContextVar[tuple[Definitions, strawberry.Schema] | None] = ContextVar("gqlplugin_schema", default=None)


@contextmanager
def bind_schema(app: App, schema: strawberry.Schema) -> Iterator[None]:
    """Let the executors of an app use the schema that is served, for the length of the block.

    Jobs run in a copy of the context that the platform's `execute` was entered in, so it is to be entered before.
    """
    previous = _served.get()
    _served.set((app, schema))
    try:
        yield
    finally:
        _served.set(previous)  # not a reset: a lifespan may end in another context than it began in


class InProcess:
    """Runs operations of an app's API, on the schema that is served, else on one of its own."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self._own: strawberry.Schema | None = None

    async def execute(
        self,
        query: str,
        variables: Mapping[str, Any],
        *,
        platform: Platform,
        invoker: AuthInvoker | None,
        firing_id: str,
    ) -> ExecutionResult:
        """Run an operation for a firing.

        Resolvers run as if a client had called: in no job. In the firing's job, what they trigger would be recorded by
        its place in the run. But a resolver need not be deterministic, as jobs must be: it may insert a row and trigger
        with its ID, and beside others, in any order. The next try would not repeat the record, and fail for good. The
        job would also start it as the executor, where a workflow's `permission` is to see the machine user. So starts
        are told apart by what they say and not by their place: see `_StartsOnce`.

        Args:
            query: A document with one operation.
            variables: JSON values by name.
            platform: Where resolvers start workflows.
            invoker: The machine user that they see as the caller; None is anonymous.
            firing_id: The run of the firing.
        """
        user = machine_user(self.definitions, invoker)
        binding = Binding(cast(Platform, _StartsOnce(platform, firing_id)), self.definitions, user)
        schema = self._schema()
        token = current_job.set(None)
        try:
            with enter_scope(None):
                return await schema.execute(query, dict(variables), {"user": user, CONTEXT_KEY: binding})
        finally:
            current_job.reset(token)

    def _schema(self) -> strawberry.Schema:
        served = _served.get()
        if served is not None and served[0] is self.definitions:
            return served[1]
        if self._own is None:
            from gqlplugin.graphql.schema import create_schema  # noqa: PLC0415 - it checks operations with this module

            if not isinstance(self.definitions, App):
                raise FailedPreconditionError(f"There is no schema for {self.definitions.name!r}: enter bind_schema.")
            self._own = create_schema(self.definitions)
        return self._own


class _StartsOnce:
    """A platform for the resolvers of one try of a firing: what an earlier try started, it does not start again.

    A start without a key of its own gets one that follows from the firing and from everything that is started, and
    from how often the same was started before in this try. This holds as long as the platform keeps such keys.
    """

    def __init__(self, platform: Platform, firing_id: str) -> None:
        self._platform = platform
        self._firing_id = firing_id
        self._started: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._platform, name)

    async def start_workflow(
        self,
        name: str,
        arg: str,
        *,
        caller: User,
        invoker: AuthInvoker | None = None,
        idempotency_key: str | None = None,
        run_id: str | None = None,
    ) -> str:
        """Start a run, once; see `Platform.start_workflow`."""
        if idempotency_key is None and run_id is None:
            idempotency_key = self._key(name, arg, invoker)
        return await self._platform.start_workflow(
            name, arg, caller=caller, invoker=invoker, idempotency_key=idempotency_key, run_id=run_id
        )

    async def takes_run_ids(self) -> bool:
        """No: an ID that a resolver chooses is another one in the next try, which would start the run once more."""
        return False

    def _key(self, name: str, arg: str, invoker: AuthInvoker | None) -> str:
        said = [name, arg, invoker and [invoker.namespace, invoker.machine_user_name]]
        digest = sha256(json.dumps(said).encode()).hexdigest()
        self._started[digest] += 1
        return f"firing/{self._firing_id}/{digest}/{self._started[digest]}"


def machine_user(definitions: Definitions, invoker: AuthInvoker | None) -> User:
    """A machine user as a caller; anonymous for None.

    Its ID follows from namespace and name, and is the one that the platform server gives it.
    """
    if invoker is None or definitions.auth is None:
        return User()
    return caller_of(definitions.auth, invoker.machine_user_name)


def problems_with(schema: strawberry.Schema, app: App) -> list[str]:
    """What is wrong, in a schema of the app, with the operations that its executors run."""
    return [
        f"executor {one.name!r} {problem} ({one.source})"
        for one in app.executors.values()
        if isinstance(one.operation, GraphQLOperation)
        for problem in (*_refusals(one.operation, schema), *_loops(one, one.operation))
    ]


def _refusals(operation: GraphQLOperation[Any], schema: strawberry.Schema) -> Iterator[str]:
    for error in _errors_of(operation, schema):
        line = f" in line {error.locations[0].line}" if error.locations else ""
        yield f"runs a GraphQL operation that the schema refuses{line}: {error.message}"


def _loops(executor: Executor[Any], operation: GraphQLOperation[Any]) -> Iterator[str]:
    trigger = executor.trigger
    if (
        isinstance(trigger, ResolverExecutedTrigger)
        and executor.condition is None
        and trigger.resolver.name in root_fields(operation.document)
    ):
        yield f"runs resolver {trigger.resolver.name!r}, whose end fires it again, for ever: give it a condition="


def _fixed_variables(operation: GraphQLOperation[Any]) -> dict[str, Any]:
    return {} if callable(operation.variables) else json_variables(operation.variables) or {}


def _errors_of(operation: GraphQLOperation[Any], schema: strawberry.Schema) -> list[GraphQLError]:
    document, types = operation.document, schema._schema  # noqa: SLF001 - Strawberry has no other way to it
    limits = limits_of(schema)
    given = _fixed_variables(operation)
    errors = find_exceeded(document, limits, types, given) or find_invalid(types, document, specified_rules, limits)
    if errors or callable(operation.variables):
        return errors
    nodes = operation_node(document).variable_definitions or ()
    values = get_variable_values(types, nodes, _fixed_variables(operation))
    return values if isinstance(values, list) else []
