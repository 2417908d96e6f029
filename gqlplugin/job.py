"""Jobs: durable functions that call each other through `trigger`."""

from __future__ import annotations

import asyncio
import inspect
from collections import abc
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from types import UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    NamedTuple,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    overload,
)

from pydantic import ValidationError

from gqlplugin.checks import (
    Source,
    UnresolvedAnnotationError,
    caller_source,
    check_type,
    function_source,
    hints_of,
    is_async,
    parameters_of,
)
from gqlplugin.codec import JsonCodec, NotJsonError, describe, encode
from gqlplugin.errors import DefinitionError, FailedPreconditionError, JobFailedError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import EnvValue, JobRuntime, current_job
from gqlplugin.platform.job_log import JobLog

I = TypeVar("I")  # noqa: E741 - the input, as O is the output
O = TypeVar("O")  # noqa: E741
O2 = TypeVar("O2")


class JobContext:
    """What a job may know and do besides its input."""

    def __init__(self, runtime: JobRuntime) -> None:
        self._runtime = runtime
        self._log: JobLog | None = None

    @property
    def env(self) -> Mapping[str, EnvValue]:
        """The values of the app's `env`."""
        return self._runtime.definitions.env

    @property
    def run_id(self) -> str:
        """The ID of the run."""
        return self._runtime.execution.id

    @property
    def workflow_name(self) -> str:
        """The name of the workflow that runs."""
        return self._runtime.execution.workflow_name

    @property
    def invoker(self) -> AuthInvoker | None:
        """The machine user that the run runs as; None when it is anonymous."""
        return self._runtime.execution.invoker

    @property
    def user(self) -> User:
        """Who started the run."""
        return self._runtime.execution.caller

    @property
    def log(self) -> JobLog:
        """A logger whose lines stay with the run: `ctx.log.info("charged %s", amount)`. At most 64 KiB per job.

        It is used as a logger of `logging` is, and its lines go to the logger `gqlplugin.jobs` too.
        """
        if self._log is None:
            self._log = JobLog(self._runtime)
        return self._log

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Tell those who follow the run how far this job is.

        Args:
            fraction: From 0 to 1.
            message: What it is doing.

        Raises:
            TypeError: The fraction is not a number.
            ValueError: The fraction is out of its range.
        """
        try:
            fits = 0 <= fraction <= 1
        except TypeError:
            raise TypeError(f"progress takes a fraction from 0 to 1, such as 0.5, not {fraction!r}") from None
        if not fits:
            raise ValueError(f"progress takes a fraction from 0 to 1, not {fraction}")
        self._runtime.progress(fraction, message)


class WorkflowJob(Generic[I, O]):
    """A durable function. Made by `create_workflow_job`.

    Attributes:
        name: Unique in the app.
        body: The function itself; call it to test a job that triggers nothing.
    """

    def __init__(self, name: str, body: Callable[..., Any], source: Source) -> None:
        self.name = name
        self.body = body
        self.source = source
        self._signature: _Signature | None = None
        self._types: tuple[JsonCodec[Any], JsonCodec[Any]] | None = None
        with suppress(UnresolvedAnnotationError):  # what it names may come further down: `define_app` asks again
            self._read()
        self._is_async = is_async(body)

    def __repr__(self) -> str:
        return f"<WorkflowJob {self.name!r}>"

    @property
    def input(self) -> JsonCodec[Any]:
        """Reads and writes the job's input."""
        return self._codecs()[0]

    @property
    def output(self) -> JsonCodec[Any]:
        """Reads and writes the job's result."""
        return self._codecs()[1]

    def _codecs(self) -> tuple[JsonCodec[Any], JsonCodec[Any]]:
        if self._types is None:
            signature = self._read()
            self._types = JsonCodec(signature.input), JsonCodec(signature.output)
        return self._types

    def _read(self) -> _Signature:
        if self._signature is None:
            self._signature = _signature_of(self.name, self.body, self.source)
        return self._signature

    @overload
    def trigger(self: WorkflowJob[None, O2]) -> Coroutine[Any, Any, O2]: ...
    @overload
    def trigger(self, input: I) -> Coroutine[Any, Any, O]: ...
    def trigger(self, input: Any = None) -> Coroutine[Any, Any, Any]:
        """Run this job from within another, durably: a replay answers with the recorded result.

        Raises:
            InvalidInputError: The input doesn't fit the job's type, or would not come back from JSON as it is; nothing
                runs.
            JobFailedError: The job failed.
            ReplayError: The run has recorded another job, or other arguments, at this place.
            FailedPreconditionError: No job is running here, or it is a plain function, which can't await.
        """
        runtime = current_job.get()
        if runtime is None:
            raise FailedPreconditionError(
                f"Job {self.name!r} can only be triggered by a job; elsewhere start a workflow: workflow.trigger()."
            )
        if not _in_event_loop():
            raise FailedPreconditionError(
                f"Job {self.name!r} is triggered by a plain function, which can't await it: write it as `async def`."
            )
        return self._trigger(runtime, input)

    async def _trigger(self, runtime: JobRuntime, input: Any) -> Any:
        arg = encode(
            f"The input of job {self.name!r}", self.input, input, is_recorded=partial(runtime.has_recorded, self.name)
        )
        result = await runtime.trigger(self, arg)
        try:
            return self.output.load_accepted(result)
        except ValidationError as error:
            raise JobFailedError(
                f"The recorded result of job {self.name!r} doesn't fit its type: {describe(error)}.",
                code="BAD_JOB_RESULT",
            ) from error

    async def execute(self, arg: str, runtime: JobRuntime) -> str:
        """Run the body on a JSON text and return its result as one; for platforms.

        Raises:
            JobFailedError: The input or the result doesn't fit its type.
        """
        try:
            value = self.input.load_accepted(arg)
        except ValidationError as error:
            raise JobFailedError(
                f"The input of job {self.name!r} doesn't fit its type: {describe(error)}.", code="BAD_USER_INPUT"
            ) from error
        signature, args = self._read(), []
        if signature.takes_input:
            args.append(value)
        if signature.takes_context:
            args.append(JobContext(runtime))
        result = await (self.body(*args) if self._is_async else runtime.run_sync(lambda: self.body(*args)))
        if isawaitable(result):  # of a plain wrapper around an async function
            result = await result
        try:
            return self.output.dump(self.output.coerce(result))
        except (ValidationError, NotJsonError) as error:
            reason = describe(error) if isinstance(error, ValidationError) else str(error)
            raise JobFailedError(
                f"Job {self.name!r} returned a value of type {type(result).__name__} that can't be recorded: {reason}.",
                code="BAD_JOB_RESULT",
            ) from error


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _parameters_of(where: str, body: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = parameters_of(where, body)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) > 2 or any(parameter.kind not in positional for parameter in parameters):
        hidden = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        raise DefinitionError(
            f"{where} must take (), (input) or (input, ctx), not {inspect.signature(body)}."
            + (" A decorator around it shows its parameters with @functools.wraps." if hidden else "")
        )
    return parameters


class _Signature(NamedTuple):
    """What the function of a job takes and returns."""

    input: Any
    output: Any
    takes_input: bool
    takes_context: bool


def _signature_of(name: str, body: Callable[..., Any], source: Source) -> _Signature:
    """Read the annotations of a job's function.

    Raises:
        DefinitionError: One can't be resolved, or the function takes something else.
    """
    where = f"Job {name!r} at {source}"
    parameters = _parameters_of(where, body)
    hints = hints_of(f"An annotation of the function at {source}", body)
    output = hints.get("return", Any)
    if get_origin(output) in _AWAITABLES:  # of a plain function, whose result is awaited
        output = get_args(output)[-1]
    if len(parameters) == 1 and is_context(parameters[0], hints, alone=True):
        return _Signature(type(None), output, takes_input=False, takes_context=True)
    if parameters and hints.get(parameters[0].name) is JobContext:
        raise DefinitionError(f"{where} takes the JobContext first: write (input, ctx: JobContext).")
    if len(parameters) == 2 and not is_context(parameters[1], hints):
        raise DefinitionError(
            f"{where} takes ({parameters[0]}, {parameters[1]}), and the second one would get the JobContext: write one "
            f"input, such as a model with a field for each, and ({parameters[0].name}, ctx: JobContext)."
        )
    given = hints.get(parameters[0].name, Any) if parameters else type(None)
    return _Signature(given, output, takes_input=bool(parameters), takes_context=len(parameters) == 2)


_AWAITABLES = (abc.Awaitable, abc.Coroutine, asyncio.Future, asyncio.Task)


def is_context(parameter: inspect.Parameter, hints: Mapping[str, Any], *, alone: bool = False) -> bool:
    """Whether a parameter is meant to get a `JobContext`.

    Args:
        parameter: The last parameter of a function.
        hints: The function's annotations.
        alone: Whether it is the only one, and so may be the input: it must say that it is the context.
    """
    hint = hints.get(parameter.name, parameter.empty)
    if hint is parameter.empty:
        return parameter.name == "ctx" if alone else parameter.default in (parameter.empty, None)
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if JobContext in members:
        return True
    return not alone and (hint in (Any, object) or getattr(hint, "_is_protocol", False))


class JobDecorator(Protocol):
    """Makes a job of a function `(input)`, `(input, ctx)`, `(ctx)` or `()`, async or plain."""

    @overload
    def __call__(self, body: Callable[[JobContext], Coroutine[Any, Any, O]], /) -> WorkflowJob[None, O]: ...
    @overload
    def __call__(self, body: Callable[[JobContext], O], /) -> WorkflowJob[None, O]: ...
    @overload
    def __call__(self, body: Callable[[I, JobContext], Coroutine[Any, Any, O]], /) -> WorkflowJob[I, O]: ...
    @overload
    def __call__(self, body: Callable[[I], Coroutine[Any, Any, O]], /) -> WorkflowJob[I, O]: ...
    @overload
    def __call__(self, body: Callable[[], Coroutine[Any, Any, O]], /) -> WorkflowJob[None, O]: ...
    @overload
    def __call__(self, body: Callable[[I, JobContext], O], /) -> WorkflowJob[I, O]: ...
    @overload
    def __call__(self, body: Callable[[I], O], /) -> WorkflowJob[I, O]: ...
    @overload
    def __call__(self, body: Callable[[], O], /) -> WorkflowJob[None, O]: ...


def create_workflow_job(*, name: str) -> JobDecorator:
    """Make a durable job of a function.

    ```python
    @create_workflow_job(name="fetch-customer")
    async def fetch_customer(input: CustomerRef, ctx: JobContext) -> Customer: ...
    ```

    A body takes `(input)`, `(input, ctx: JobContext)`, `(ctx: JobContext)` or `()`. It may be a method, a
    `functools.partial`, an object with `__call__`, or behind a decorator that uses `functools.wraps`; what it returns
    is awaited where that can be awaited.

    After a crash or a resume the body starts from its top, and its recorded triggers answer from the record: code
    around triggers may run again and must lead to the same triggers. A plain function runs in a thread and can't
    trigger.

    Args:
        name: 3 to 63 lower-case letters, digits and hyphens, unique in the app (TAILOR.md section 5).

    Raises:
        DefinitionError: The name is not text, or the function takes something else, or yields.
    """
    source = caller_source()
    check_type(f"create_workflow_job at {source}", "name", name, str, 'name="fetch-customer"')

    def decorate(body: Callable[..., Any]) -> WorkflowJob[Any, Any]:
        return WorkflowJob(name, body, function_source(body) or source)

    return cast(JobDecorator, decorate)
