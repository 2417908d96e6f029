"""What an executor does: call a function, start a workflow or a job, run a GraphQL operation."""

from __future__ import annotations

import inspect
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, cast, overload

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
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from gqlplugin.checks import (
    UnresolvedAnnotationError,
    caller_source,
    check_function,
    check_type,
    checked_invoker,
    hints_of,
    is_async,
    parameters_of,
)
from gqlplugin.errors import (
    DefinitionError,
    GqlpluginError,
    InvalidInputError,
    JobFailedError,
    PlatformNotBoundError,
    contained,
)
from gqlplugin.executor.trigger import Registry
from gqlplugin.identity import AnyInvoker, AuthInvoker
from gqlplugin.job import JobContext, is_context
from gqlplugin.platform.base import Definitions, JobRuntime, find_binding
from gqlplugin.runs import RetryPolicy
from gqlplugin.workflow import Workflow, trigger_workflow

if TYPE_CHECKING:
    from gqlplugin.graphql.schema_operations import InProcess

A = TypeVar("A")
C_contra = TypeVar("C_contra", contravariant=True)
I = TypeVar("I")  # noqa: E741 - the input of a workflow

OperationKind = Literal["workflow", "function", "graphql", "webhook"]


class FiringOutcome(BaseModel):
    """What came of a firing.

    Attributes:
        skipped: The condition was not met, and nothing was done.
        workflow_run_id: The run that was started.
        result: What a function returned, the data of a GraphQL operation, or the status of a webhook.
    """

    model_config = ConfigDict(frozen=True)

    skipped: bool = False
    workflow_run_id: str | None = None
    result: JsonValue = None


class Operation(ABC, Generic[C_contra]):
    """What an executor does, with arguments of type `C_contra`.

    Attributes:
        retry_policy: Tries a failed operation again.
    """

    kind: ClassVar[OperationKind]
    retry_policy: RetryPolicy | None = None

    @property
    @abstractmethod
    def detail(self) -> str:
        """What exactly it does, for people: the name of a workflow or a function, a host."""

    @abstractmethod
    async def run(self, args: C_contra, runtime: JobRuntime) -> FiringOutcome:
        """Do it, within a firing; `current_job` is the firing's.

        Raises:
            JobFailedError: It failed; `may_retry` says whether another try can end otherwise.
        """

    def problems(self, app: Registry) -> Sequence[str]:
        """What is wrong with it in an app."""
        del app
        return ()

    def functions(self) -> Sequence[Callable[..., Any]]:
        """The functions that may name jobs."""
        return ()


class WorkflowOperation(Operation[C_contra]):
    """Starts a workflow. Made by `workflow_operation`.

    Attributes:
        name: The workflow's name.
        workflow: The workflow itself, where it was given.
    """

    kind = "workflow"

    def __init__(
        self, workflow: Workflow[Any, Any] | str, args: object, auth_invoker: AuthInvoker | str | None
    ) -> None:
        self.name = workflow if isinstance(workflow, str) else workflow.name
        self.workflow = None if isinstance(workflow, str) else workflow
        self.args = args
        self.auth_invoker = auth_invoker

    @property
    def detail(self) -> str:
        return self.name

    async def run(self, args: C_contra, runtime: JobRuntime) -> FiringOutcome:
        """Start it, durably: another try answers with the run of the first."""
        del runtime
        given = await evaluated("args", self.args, args)
        try:
            if self.workflow is None or _is_json_text(self.workflow, given):
                run_id = await trigger_workflow(self.name, given, auth_invoker=self.auth_invoker)
            else:
                run_id = await self.workflow.trigger(given, auth_invoker=self.auth_invoker)
        except GqlpluginError as error:
            raise JobFailedError(error.message, code=error.code, may_retry=False) from error
        return FiringOutcome(workflow_run_id=run_id)

    def problems(self, app: Registry) -> Sequence[str]:
        workflow = app.workflows.get(self.name)
        if workflow is None or self.workflow not in (None, workflow):
            return [f"starts workflow {self.name!r}, which is not in define_app(workflows=[...])"]
        return [*invoker_problems(app, self.auth_invoker), *self._argument_problems(workflow)]

    def _argument_problems(self, workflow: Workflow[Any, Any]) -> list[str]:
        if callable(self.args):
            return []
        try:
            if isinstance(self.args, str) and (self.workflow is None or _is_json_text(workflow, self.args)):
                workflow.encode_json(self.args)
            else:
                workflow.encode_args(self.args)
        except InvalidInputError as error:
            return [f"has args that don't fit: {error.message.rstrip('.')}"]
        return []


_ANYTHING = (Any, object, JsonValue)


def _is_json_text(workflow: Workflow[Any, Any], given: object) -> bool:
    """Whether text is the JSON of the argument, and not the argument itself, which it is where it fits as it is.

    To a main job that takes anything, all text fits as it is: then what can be read as JSON is.
    """
    if not isinstance(given, str):
        return False
    takes_anything = workflow.input.type in _ANYTHING
    try:
        workflow.encode_json(given) if takes_anything else workflow.encode_args(given)
    except InvalidInputError:
        return not takes_anything
    return takes_anything


@overload
def workflow_operation(
    workflow: Workflow[I, Any],
    *,
    args: I | Callable[[A], I | Awaitable[I]] = cast(Any, None),  # noqa: B008 - None, for those that take none
    auth_invoker: AnyInvoker | None = None,
) -> Operation[A]: ...
@overload
def workflow_operation(
    workflow: str, *, args: Callable[[A], object] | object = None, auth_invoker: AnyInvoker | None = None
) -> Operation[A]: ...
def workflow_operation(
    workflow: Workflow[Any, Any] | str, *, args: object = None, auth_invoker: AnyInvoker | None = None
) -> Operation[Any]:
    """Start a workflow.

    ```python
    workflow_operation(order_processing, args=lambda args: OrderProcessing(order_id=args.new_record.id))
    workflow_operation("order-processing", args=lambda args: json.dumps(args.body))
    ```

    Args:
        workflow: Of the same app, or its name. Given itself, editors check `args`.
        args: What its main job takes, or a function of the trigger's arguments that makes it. One that raises fails the
            firing, which is not tried again. Text is JSON, as for `trigger_workflow`. Where the workflow itself is
            given, text that its main job takes is the argument; where that takes anything, text that is not JSON is.
        auth_invoker: The machine user that the run runs as, given as to `Workflow.trigger`; anonymous by default.

    Raises:
        DefinitionError: An argument is of another type. A name or static `args` that don't fit the app are found by
            `define_app`.
    """
    where = f"The workflow_operation at {caller_source()}"
    check_type(where, "workflow", workflow, (Workflow, str), "what create_workflow(...) makes, or its name")
    if callable(args):
        check_function(where, "args", args, 1, "a function of the trigger's arguments")
    return WorkflowOperation(workflow, args, checked_invoker(where, auth_invoker))


class FunctionOperation(Operation[C_contra]):
    """Runs a function. Made by `function_operation`."""

    kind = "function"

    def __init__(self, body: Callable[..., Any], retry_policy: RetryPolicy | None, *, takes_context: bool) -> None:
        self.body = body
        self.retry_policy = retry_policy
        self._takes_context = takes_context
        self._is_async = is_async(body)

    @property
    def detail(self) -> str:
        return getattr(self.body, "__name__", type(self.body).__name__)

    async def run(self, args: C_contra, runtime: JobRuntime) -> FiringOutcome:
        """Run it; a plain function in a thread."""
        given: tuple[Any, ...] = (args, JobContext(runtime)) if self._takes_context else (args,)
        result = await (self.body(*given) if self._is_async else runtime.run_sync(lambda: self.body(*given)))
        if inspect.isawaitable(result):  # of a plain wrapper around an async function
            result = await result
        try:
            return FiringOutcome(result=to_jsonable_python(result, by_alias=True, inf_nan_mode="constants"))
        except ValueError as error:
            raise JobFailedError(
                f"Function {self.detail!r} returned a value of type {type(result).__name__} that is not JSON.",
                code="BAD_JOB_RESULT",
                may_retry=False,
            ) from error

    def functions(self) -> Sequence[Callable[..., Any]]:
        return (self.body,)


@overload
def function_operation(body: Callable[[A], Any], *, retry_policy: RetryPolicy | None = None) -> Operation[A]: ...
@overload
def function_operation(
    body: Callable[[A, JobContext], Any], *, retry_policy: RetryPolicy | None = None
) -> Operation[A]: ...
def function_operation(body: Callable[..., Any], *, retry_policy: RetryPolicy | None = None) -> Operation[Any]:
    """Run a function of the trigger's arguments, as durably as a job: it can trigger jobs, and has a log.

    After a crash it runs again from its top, as every job does.

    Args:
        body: Takes the arguments, or the arguments and a `JobContext`; async, or plain, which runs in a thread. Returns
            a JSON value or a model.
        retry_policy: Tries it again when it fails; by default it is not.

    Raises:
        DefinitionError: The function takes something else, or yields; or the policy is none.
    """
    where = f"The function_operation at {caller_source()}"
    if retry_policy is not None:
        check_type(where, "retry_policy", retry_policy, RetryPolicy, "RetryPolicy(max_retries=3)")
    return FunctionOperation(body, retry_policy, takes_context=_takes_context(where, body))


def _takes_context(where: str, body: Callable[..., Any]) -> bool:
    parameters = parameters_of(where, body)
    check_function(
        where, "body", body, 1 if len(parameters) == 1 else 2, "a function (args) or (args, ctx: JobContext)"
    )
    try:
        hints = hints_of(where, body)
    except UnresolvedAnnotationError:  # an annotation only for type checkers
        hints = {}
    if len(parameters) == 1 or is_context(parameters[1], hints):
        return len(parameters) > 1
    if parameters[1].default is parameters[1].empty:
        raise DefinitionError(
            f"{where} has a body that takes ({parameters[0]}, {parameters[1]}), and the second one would get the "
            "JobContext: write (args, ctx: JobContext)."
        )
    return False


async def evaluated(what: str, given: Any, args: object) -> Any:
    """A value that was given, or what a function that was given makes of the arguments.

    Raises:
        JobFailedError: The function raised; not to be tried again.
    """
    if not callable(given):
        return given
    try:
        value = given(args)
        return await value if inspect.isawaitable(value) else value
    except BaseException as error:
        raise JobFailedError(
            f"The function for {what} failed.", code=f"EXECUTOR_{what.upper()}_FAILED", may_retry=False
        ) from contained(error)


def invoker_problems(app: Registry, invoker: AuthInvoker | str | None) -> list[str]:
    """What is wrong with a machine user in an app."""
    try:
        app.resolve_invoker(invoker)
    except InvalidInputError as error:
        return [f"runs as {invoker!r}: {error.message.rstrip('.')}"]
    return []


TEN_ATTEMPTS = RetryPolicy(max_retries=9, initial_backoff=timedelta(seconds=5), max_backoff=timedelta(hours=1))
"""Waits at most 5 s before the second attempt, 21 min before the tenth, and 43 min in all."""


def backoff(policy: RetryPolicy | None, attempt: int, *, at_least: timedelta | None = None) -> timedelta | None:
    """The wait before the next try: by chance up to that of the policy, so that what failed together comes back apart.

    Args:
        policy: That of the operation.
        attempt: The number of the try that failed, from 0.
        at_least: What the other side asked for.
    """
    if policy is None:
        return at_least
    wait = policy.backoff(attempt + 1) * random.random()  # noqa: S311 - not a secret
    return wait if at_least is None else max(wait, at_least)


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
        from gqlplugin.graphql.schema_operations import InProcess  # noqa: PLC0415 - an upward import, at call time

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
