"""What an executor does."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast, overload

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic_core import to_jsonable_python

from gqlplugin.checks import (
    UnresolvedAnnotationError,
    check_function,
    check_type,
    checked_invoker,
    hints_of,
    is_async,
    parameters_of,
)
from gqlplugin.errors import DefinitionError, GqlpluginError, InvalidInputError, JobFailedError, contained
from gqlplugin.execution import RetryPolicy
from gqlplugin.executor.registry import Registry
from gqlplugin.identity import AnyInvoker, AuthInvoker
from gqlplugin.job import JobContext, is_context
from gqlplugin.platform.base import JobRuntime
from gqlplugin.source import caller_source
from gqlplugin.workflow import Workflow, trigger_workflow

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
