"""What every platform can do, and the platform that is bound to the current context.

A platform speaks names and JSON text; models and typed definitions stay on the other side, behind the small protocols
here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, Self, TypeVar

from gqlplugin.errors import PlatformNotBoundError
from gqlplugin.execution import (
    ConcurrencyPolicy,
    ExecutionFilter,
    ExecutionPage,
    JobExecution,
    RetryPolicy,
    Values,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
)
from gqlplugin.identity import AuthInvoker, MachineUser, RunGrant, User
from gqlplugin.schedule import Schedule

R = TypeVar("R")

EnvValue = str | int | float | bool
"""What a value of the app's `env` may be."""


class RunnableJob(Protocol):
    """A job as a platform sees it."""

    @property
    def name(self) -> str: ...

    async def execute(self, arg: str, runtime: JobRuntime) -> str:
        """Run the body on a JSON text and return its result as one."""
        ...


class RunnableWorkflow(Protocol):
    """A workflow as a platform sees it. It can't be run here when `main_job` is None."""

    @property
    def name(self) -> str: ...
    @property
    def main_job(self) -> RunnableJob | None: ...
    @property
    def retry_policy(self) -> RetryPolicy | None: ...
    @property
    def concurrency_policy(self) -> ConcurrencyPolicy | None: ...

    def encode_args(self, args: object) -> str:
        """The JSON text of arguments that fit the main job's input."""
        ...

    def encode_json(self, text: str) -> str:
        """The same, for arguments that are JSON text already."""
        ...

    def check_permission(self, user: User, invoker: AuthInvoker | None) -> None:
        """Refuse a start that the workflow's `permission` does not allow."""
        ...


class AnswerableWaitPoint(Protocol):
    """A wait point as a platform sees it."""

    def encode_json(self, text: str) -> str:
        """The JSON text of an answer that is JSON text already, once it fits."""
        ...


class AuthNamespace(Protocol):
    """The machine users of an app as a platform sees them."""

    @property
    def namespace(self) -> str: ...
    @property
    def machine_users(self) -> Mapping[str, MachineUser]: ...


class Definitions(Protocol):
    """An app as a platform sees it."""

    @property
    def name(self) -> str: ...
    @property
    def auth(self) -> AuthNamespace | None: ...
    @property
    def workflows(self) -> Mapping[str, RunnableWorkflow]: ...
    @property
    def jobs(self) -> Mapping[str, RunnableJob]: ...
    @property
    def wait_points(self) -> Mapping[str, AnswerableWaitPoint]:
        """Where runs may wait, by name."""
        ...

    @property
    def env(self) -> Mapping[str, EnvValue]: ...
    @property
    def capture_print(self) -> bool:
        """Whether what jobs print goes to their logs."""
        ...

    @property
    def firings(self) -> Mapping[str, RunnableWorkflow]:
        """The workflows that do what executors do, by the names their runs have."""
        ...

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """When which of the firings start by themselves, by the same names."""
        ...

    @property
    def databases(self) -> Mapping[str, RunningDatabase]:
        """What jobs and resolvers get by `get_db`."""
        ...

    @property
    def resolver_listeners(self) -> Mapping[str, Sequence[str]]:
        """Which firings start when a resolver has run, by the resolver's name."""
        ...

    def running(self, platform: Platform) -> AbstractAsyncContextManager[None]:
        """Open the databases of the definitions, and start on a platform what is committed to them.

        May be entered within itself.
        """
        ...

    def jobs_of(self, workflow_name: str) -> Sequence[str]:
        """The names of the jobs that one of the workflows is made of, its main job first."""
        ...

    def resolve_invoker(self, invoker: AuthInvoker | str | None) -> AuthInvoker | None:
        """The machine user meant by a name or an invoker; unknown ones are refused."""
        ...


class RunningDatabase(Protocol):
    """A database as a platform and the app see it."""

    @property
    def name(self) -> str: ...


class Platform(Protocol):
    """Starts workflows, and tells of their runs. The only way to start anything.

    Entering one (`async with platform:`) connects it and binds it to the current context. Its methods raise
    `PlatformUnavailableError` when the platform can't answer; those that change something raise `OutcomeUnknownError`
    where it may have been done all the same.
    """

    @property
    def separate_workers(self) -> bool:
        """Whether jobs run in processes of their own: one that serves GraphQL then runs none unless it is told to."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def execute(self, definitions: Definitions) -> AbstractAsyncContextManager[None]:
        """While entered, this process may run the jobs of the definitions, and fires their schedules.

        The definitions are bound, and `definitions.running(self)` is entered.
        """
        ...

    async def check_health(self) -> None:
        """Return if runs can be started now, as far as can be told without starting one.

        Raises:
            PlatformUnavailableError: They can't; what is wrong is in the log.
            PlatformCredentialsError: The platform refuses the credentials of this server.
            SetupError: The platform is not entered.
        """
        ...

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
        """Start a run and return its ID; once it returns, the run is not lost.

        Args:
            name: The workflow's name, or that of the firings of an executor.
            arg: JSON text.
            caller: Who asks for it; an idempotency key is the caller's own.
            invoker: The machine user it runs as; None is anonymous.
            idempotency_key: At most 255 characters. The same key with the same request answers with the same run.
            run_id: The ID that the run is to have, from `uuid7`, for a start that may be asked for again: when there is
                a run with this ID, it is the answer, and nothing is started.

        Raises:
            NotFoundError: There is no such workflow.
            InvalidInputError: The argument is not JSON or too large, the key too long, or the ID not of this form.
            IdempotencyKeyReusedError: The key, or the ID, was used for another request.
            UnsupportedError: The platform knows no idempotency keys, or no IDs that are given to it.
        """
        ...

    async def takes_run_ids(self) -> bool:
        """Whether `start_workflow` takes a `run_id`, so that a run's ID can be known before it starts."""
        ...

    async def start_workflows(
        self, name: str, args: Sequence[str], *, caller: User, invoker: AuthInvoker | None = None
    ) -> list[str]:
        """Start one run per argument, all of them or none, and return their IDs in the same order.

        Args:
            name: The workflow's name.
            args: JSON texts.
            caller: Who asks for it.
            invoker: The machine user they run as; None is anonymous.

        Raises:
            NotFoundError: There is no such workflow.
            InvalidInputError: An argument is not JSON or too large, or there are more than 1000.
            UnsupportedError: The platform can't start several at once.
        """
        ...

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        """A run by its ID.

        Raises:
            NotFoundError: There is no such run.
        """
        ...

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        """The jobs of runs, in the order they were triggered; an unknown run has none.

        Args:
            run_ids: The runs.
            values: What to read of inputs, results and logs; None is all.
        """
        ...

    async def get_job(self, job_id: str) -> JobExecution:
        """A job by its ID.

        Raises:
            NotFoundError: There is no such job.
        """
        ...

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        """A page of runs, newest first unless the filter has another order.

        Raises:
            InvalidInputError: `after` is not a cursor of this platform, or `first` is not from 1 to 1000.
        """
        ...

    async def count_executions(self, where: ExecutionFilter) -> int:
        """How many runs a listing has.

        Raises:
            UnsupportedError: The platform can't count them.
        """
        ...

    async def count_jobs(self) -> int:
        """How many jobs there are in all runs, wait points not counted.

        Raises:
            UnsupportedError: The platform can't count them.
        """
        ...

    async def resume(self, run_id: str) -> None:
        """Run a failed or canceled run again under its ID; its finished jobs answer from the record.

        Raises:
            NotFoundError: There is no such run.
            FailedPreconditionError: It is neither FAILED nor CANCELED.
        """
        ...

    async def cancel(self, run_id: str) -> None:
        """End a run that has not ended: at once unless it is RUNNING, else its jobs are told to stop.

        A running job gets `asyncio.CancelledError`, and may clean up. One that returns all the same has succeeded.

        Raises:
            NotFoundError: There is no such run.
            FailedPreconditionError: It has ended.
            UnsupportedError: The platform can't cancel runs.
        """
        ...

    async def resolve(self, run_id: str, wait_point: str, result: str, *, job_id: str | None = None) -> None:
        """Answer a run that waits; it goes on with the answer. Of several answers at once, one is taken.

        Args:
            run_id: The run.
            wait_point: What it waits at.
            result: JSON text.
            job_id: The wait that is meant, from `list_waits`: another one is not answered.

        Raises:
            NotFoundError: There is no such run.
            InvalidInputError: The result is not JSON, or too large.
            FailedPreconditionError: It does not wait there, or no longer.
            UnsupportedError: The platform has no wait points.
        """
        ...

    async def list_waits(self, where: WaitFilter, *, first: int, after: str | None = None) -> WaitPage:
        """A page of the runs that wait, the longest wait first.

        Raises:
            InvalidInputError: `after` is not a cursor of this listing, or `first` is not from 1 to 1000.
            UnsupportedError: The platform has no wait points.
        """
        ...

    def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
        """The run as it is, then again after every change of it or of its jobs, until it has ended.

        It may come again unchanged.

        Raises:
            NotFoundError: There is no such run.
            PlatformUnavailableError: The platform is being closed.
        """
        ...


class JobRuntime(Protocol):
    """What a platform offers to the job it is running."""

    @property
    def execution(self) -> WorkflowExecution: ...
    @property
    def job_id(self) -> str: ...
    @property
    def definitions(self) -> Definitions: ...

    async def trigger(self, job: RunnableJob, arg: str) -> str:
        """Run another job, or answer from the record."""
        ...

    def has_recorded(self, name: str, arg: str) -> bool:
        """Whether the record has a trigger of this name and input that is still to be repeated."""
        ...

    async def start_workflow(
        self, name: str, arg: str, *, invoker: AuthInvoker | None, idempotency_key: str | None
    ) -> str:
        """Start another run, once: a replay answers from the record."""
        ...

    async def start_workflows(self, name: str, args: Sequence[str], *, invoker: AuthInvoker | None) -> list[str]:
        """Start several runs, once."""
        ...

    async def wait(self, wait_point: str, payload: str, timeout: timedelta | None) -> str:
        """Wait at a wait point for its result; the run is put away for as long.

        Raises:
            WaitTimedOutError: The time is over.
        """
        ...

    async def once(self, effect: str, arg: str, call: Callable[[], Awaitable[None]]) -> None:
        """Do something else to the world, once: a replay leaves it out."""
        ...

    async def run_sync(self, call: Callable[[], R]) -> R:
        """Run a call that blocks in a thread."""
        ...

    def log(self, line: str) -> None:
        """Add a line to the job's log."""
        ...

    def print(self, text: str) -> bool:
        """Add text to the job's log, by the line; False when the job has ended, and nothing was added."""
        ...

    def progress(self, fraction: float, message: str | None) -> None:
        """Say how far the job is."""
        ...


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a trigger goes, and who is calling. With a grant, the caller may do what it says and nothing else."""

    platform: Platform
    definitions: Definitions | None = None
    user: User = field(default_factory=User)
    grant: RunGrant | None = None


_binding: ContextVar[Binding | None] = ContextVar("gqlplugin_binding", default=None)
current_job: ContextVar[JobRuntime | None] = ContextVar("gqlplugin_job", default=None)
"""The job that is running in this context, if any."""


def current_binding() -> Binding:
    """The binding of this context.

    Raises:
        PlatformNotBoundError: There is none.
    """
    binding = _binding.get()
    if binding is None:
        raise PlatformNotBoundError
    return binding


def find_binding() -> Binding | None:
    """The binding of this context, or None."""
    return _binding.get()


@contextmanager
def bind(binding: Binding) -> Iterator[None]:
    """Bind a platform, definitions and caller to this context, for the length of the block."""
    previous = _binding.get()
    _binding.set(binding)
    try:
        yield
    finally:
        _binding.set(previous)  # not a reset: a lifespan may end in another context than it began in
