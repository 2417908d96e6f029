"""Jobs: durable functions that call each other through `trigger`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast, get_type_hints, overload

from pydantic import ValidationError

from gqlplugin.codec import JsonCodec, NotJsonError, describe, encode
from gqlplugin.errors import DefinitionError, FailedPreconditionError, JobFailedError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import EnvValue, JobRuntime, current_job
from gqlplugin.source import Source, caller_source, function_source

I = TypeVar("I")  # noqa: E741 - the input, as O is the output
O = TypeVar("O")  # noqa: E741
O2 = TypeVar("O2")

_logger = logging.getLogger("gqlplugin.jobs")


class JobLog(logging.LoggerAdapter[logging.Logger]):
    """Writes to the job's own log, which stays with the run, and to the logger `gqlplugin.jobs`."""

    def __init__(self, runtime: JobRuntime) -> None:
        run = runtime.execution
        super().__init__(_logger, {"run_id": run.id, "job_id": runtime.job_id, "workflow": run.workflow_name})
        self._runtime = runtime

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write one line, of any level."""
        text = str(msg) % args if args else str(msg)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._runtime.log(f"{now} {logging.getLevelName(level)} {text}")
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *args, **kwargs)


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
        """A logger whose lines stay with the run: `ctx.log.info("charged %s", amount)`. At most 64 KiB per job."""
        if self._log is None:
            self._log = JobLog(self._runtime)
        return self._log

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Tell those who follow the run how far this job is.

        Args:
            fraction: From 0 to 1.
            message: What it is doing.

        Raises:
            ValueError: The fraction is out of its range.
        """
        if not 0 <= fraction <= 1:
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
        self._takes = len(_parameters_of(name, body))
        self._is_async = inspect.iscoroutinefunction(body)
        self._types: tuple[JsonCodec[Any], JsonCodec[Any]] | None = None

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
            hints = _hints_of(self.body)
            names = list(_parameters_of(self.name, self.body))
            given = hints.get(names[0], Any) if names else type(None)
            self._types = JsonCodec(given), JsonCodec(hints.get("return", Any))
        return self._types

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
        args = (value, JobContext(runtime))[: self._takes]
        result = await (self.body(*args) if self._is_async else runtime.run_sync(lambda: self.body(*args)))
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


def _parameters_of(name: str, body: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(body).parameters
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) > 2 or any(parameter.kind not in positional for parameter in parameters.values()):
        raise DefinitionError(
            f"Job {name!r} at {function_source(body)} must take (), (input) or (input, ctx), not "
            f"({', '.join(str(parameter) for parameter in parameters.values())})."
        )
    return parameters


def _hints_of(body: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(body, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"An annotation of the function at {function_source(body)} can't be resolved: {error}."
        ) from error


class JobDecorator(Protocol):
    """Makes a job of a function `(input)`, `(input, ctx)` or `()`, async or plain."""

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

    After a crash or a resume the body starts from its top, and its recorded triggers answer from the record: code
    around triggers may run again and must lead to the same triggers. A plain function runs in a thread and can't
    trigger.

    Args:
        name: 3 to 63 lower-case letters, digits and hyphens, unique in the app (TAILOR.md section 5).

    Raises:
        DefinitionError: The function takes something else.
    """
    source = caller_source()

    def decorate(body: Callable[..., Any]) -> WorkflowJob[Any, Any]:
        return WorkflowJob(name, body, function_source(body) or source)

    return cast(JobDecorator, decorate)
