"""Running operations of the app's own GraphQL API."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
)
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from gqlplugin.checks import check_function, check_type, checked_invoker
from gqlplugin.errors import DefinitionError, JobFailedError, PlatformNotBoundError
from gqlplugin.executor.operation import FiringOutcome, Operation, evaluated, invoker_problems
from gqlplugin.executor.registry import Registry
from gqlplugin.executor.retrying import TEN_ATTEMPTS, backoff
from gqlplugin.identity import AnyInvoker, AuthInvoker
from gqlplugin.job import JobContext
from gqlplugin.platform.base import Definitions, JobRuntime, find_binding
from gqlplugin.source import caller_source

if TYPE_CHECKING:
    from gqlplugin.graphql.execute import InProcess

A = TypeVar("A")
C_contra = TypeVar("C_contra", contravariant=True)

Variables = Mapping[str, object] | BaseModel
"""Values by the names of variables."""

_LASTING = frozenset(
    {
        "BAD_USER_INPUT",
        "FORBIDDEN",
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "INVALID_DEFINITION",
        "LIMIT_EXCEEDED",
        "NOT_FOUND",
        "OPERATION_RESOLUTION_FAILURE",
        "UNAUTHENTICATED",
        "UNSUPPORTED",
    }
)
"""Codes of errors that another try meets again."""

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_CODES = 5


class GraphQLOperation(Operation[C_contra]):
    """Runs an operation of the app's API. Made by `graphql_operation`.

    Attributes:
        document: What is run.
    """

    kind = "graphql"
    retry_policy = TEN_ATTEMPTS

    def __init__(
        self,
        query: str,
        document: DocumentNode,
        variables: Variables | Callable[..., object] | None,
        auth_invoker: AuthInvoker | str | None,
    ) -> None:
        self.query = query
        self.document = document
        self.variables = variables
        self.auth_invoker = auth_invoker
        self._api: InProcess | None = None

    @property
    def detail(self) -> str:
        node = operation_node(self.document)
        return f"{node.operation.value} {node.name.value}" if node.name else f"an unnamed {node.operation.value}"

    async def run(self, args: C_contra, runtime: JobRuntime) -> FiringOutcome:
        """Run it as a client would that is the machine user; see `InProcess`."""
        variables = await self._variables(args)
        binding = find_binding()
        if binding is None:
            raise PlatformNotBoundError
        api = self._api_of(runtime.definitions)
        invoker = runtime.definitions.resolve_invoker(self.auth_invoker)
        began = time.monotonic()
        answer = await api.execute(
            self.query, variables, platform=binding.platform, invoker=invoker, firing_id=runtime.execution.id
        )
        took = round((time.monotonic() - began) * 1000)
        if answer.errors:
            raise self._failure(answer.errors, runtime, took)
        JobContext(runtime).log.info("%s succeeded (%d ms)", self.detail, took)
        return FiringOutcome(result=to_jsonable_python(answer.data, serialize_unknown=True))

    def problems(self, app: Registry) -> Sequence[str]:
        return invoker_problems(app, self.auth_invoker)

    async def _variables(self, args: C_contra) -> dict[str, Any]:
        given = await evaluated("variables", self.variables, args)
        variables = json_variables(given)
        if variables is None:
            raise JobFailedError(
                f"The function for variables returned a value of type {type(given).__name__} that is not JSON by name.",
                code="EXECUTOR_VARIABLES_FAILED",
                may_retry=False,
            )
        return variables

    def _api_of(self, definitions: Definitions) -> InProcess:
        from gqlplugin.graphql.execute import InProcess  # noqa: PLC0415 - an upward import, at call time

        if self._api is None or self._api.definitions is not definitions:
            self._api = InProcess(definitions)
        return self._api

    def _failure(self, errors: Sequence[GraphQLError], runtime: JobRuntime, took: int) -> JobFailedError:
        codes = list(dict.fromkeys(map(_code_of, errors)))
        shown = ", ".join(codes[:_MAX_CODES])
        # the ID is what the log of the process has the traceback under
        ids = [str((error.extensions or {}).get("id")) for error in errors if _code_of(error) == "INTERNAL"][
            :_MAX_CODES
        ]
        known = f", logged as {', '.join(ids)}" if ids else ""
        JobContext(runtime).log.warning("%s failed: %s%s (%d ms)", self.detail, shown, known, took)
        may_retry = not any(code in _LASTING for code in codes)
        wait = backoff(self.retry_policy, runtime.execution.attempt) if may_retry else None
        return JobFailedError(
            f"The GraphQL operation failed: {shown}.", code="GRAPHQL_FAILED", may_retry=may_retry, retry_after=wait
        )


def graphql_operation(
    query: str,
    *,
    variables: Variables | Callable[[A], Variables | Awaitable[Variables]] | None = None,
    auth_invoker: AnyInvoker | None = None,
) -> Operation[A]:
    """Run a query or mutation of the app's own GraphQL API, in this process.

    ```python
    graphql_operation(
        "mutation ($id: ID!) { archiveOrder(id: $id) { archived } }",
        variables=lambda args: {"id": args.new_record.id},
        auth_invoker="archivist",
    )
    ```

    An answer with errors fails the firing: it is tried 10 times in all, with waits as those of `webhook_operation`,
    unless a code says that no try could end otherwise, such as FORBIDDEN. A try runs the whole operation again, as does
    a process that finds the firing unfinished; a workflow that an earlier try started with the same arguments is not
    started again. Resolvers find no request in `info.context`, and are in no job.

    Args:
        query: A document with one operation; it is checked when the schema is made.
        variables: Values by name, or a function of the trigger's arguments that makes them. One that raises fails the
            firing, which is not tried again.
        auth_invoker: The machine user that resolvers see as the caller; anonymous by default.

    Raises:
        DefinitionError: The query is not GraphQL, has another number of operations, or is a subscription; or the
            variables are not JSON.
    """
    where = f"The graphql_operation at {caller_source()}"
    check_type(where, "query", query, str, '"mutation ($id: ID!) { ... }"')
    try:
        document = parse(query)
    except GraphQLError as error:
        line = f" (line {error.locations[0].line} of the query)" if error.locations else ""
        raise DefinitionError(f"{where} has a query that is not GraphQL{line}: {error.message}") from None
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) != 1 or operations[0].operation is OperationType.SUBSCRIPTION:
        raise DefinitionError(f"{where} takes a query with one operation, a query or a mutation.")
    if callable(variables):
        check_function(where, "variables", variables, 1, "a function of the trigger's arguments")
    elif json_variables(variables) is None:
        raise DefinitionError(f"{where} has variables that are not JSON values by name.")
    return GraphQLOperation(query, document, variables, checked_invoker(where, auth_invoker))


def operation_node(document: DocumentNode) -> OperationDefinitionNode:
    """The one operation of a document."""
    return next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))


def root_fields(document: DocumentNode) -> set[str]:
    """The names of the fields that the operation of a document asks for, those in fragments included."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    found: set[str] = set()
    waiting: list[SelectionSetNode] = [operation_node(document).selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            if isinstance(selection, FieldNode):
                found.add(selection.name.value)
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and (known := fragments.pop(selection.name.value, None)):
                waiting.append(known.selection_set)
    return found


def json_variables(variables: object) -> dict[str, Any] | None:
    """Variables as GraphQL takes them; None when they are not JSON values by name."""
    try:
        given = to_jsonable_python({} if variables is None else variables, by_alias=True, inf_nan_mode="constants")
    except PydanticSerializationError:
        return None
    return given if isinstance(given, dict) else None


def _code_of(error: GraphQLError) -> str:
    code = (error.extensions or {}).get("code")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "UNKNOWN"
