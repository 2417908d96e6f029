"""What every platform can do, and the platform that is bound to the current context."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import UUID, uuid5

from gqlplugin.errors import (
    HOW_TO_RUN,
    OutcomeUnknownError,
    PlatformNotBoundError,
    PlatformUnavailableError,
    SetupError,
)
from gqlplugin.identity import AuthInvoker, MachineUser, RunGrant, User
from gqlplugin.runs import (
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
from gqlplugin.schedule import Schedule

_NAMESPACE = UUID("6f0b1d0e-5c0f-5d0b-9a53-0d4c6c1b7e21")


def uuid7() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): it sorts by the millisecond it was made in."""
    return _format(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


def is_uuid7(text: str) -> bool:
    """Whether this is how `uuid7` writes one."""
    try:
        parsed = UUID(text)
    except ValueError:
        return False
    return parsed.version == 7 and str(parsed) == text


def first_uuid7_of(moment: datetime) -> str:
    """The lowest UUID of version 7 that can be made from a moment on."""
    return _format(int(moment.timestamp() * 1000), 0)


def id_of_names(kind: str, owner: str, name: str) -> str:
    """A UUID that follows from what it is of, so that it need not be kept."""
    return str(uuid5(_NAMESPACE, f"{kind}/{owner}/{name}"))  # owner and kind hold no slash, so no two read the same


def machine_user_id(namespace: str, name: str) -> str:
    """The ID of a machine user, as whoever looks sees it."""
    return id_of_names("machine-user", namespace, name)


def _format(milliseconds: int, random: int) -> str:
    low = 0b10 << 62 | random & (1 << 62) - 1
    text = f"{milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


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


P = TypeVar("P")
T = TypeVar("T")

_END = object()


def callable_from_any_loop(platform: type[P]) -> type[P]:
    """Let the public coroutines and async iterators of a platform be called from any event loop of the process.

    A call on another loop than the one that the platform works on is made on that one, in the caller's context.

    Args:
        platform: Its class. It keeps its `Entering` as `_entering`.
    """
    for name, method in inspect.getmembers(platform, inspect.isfunction):
        if name.startswith("_"):
            continue
        if inspect.iscoroutinefunction(method):
            setattr(platform, name, _coroutine(method))
        elif inspect.isasyncgenfunction(method):
            setattr(platform, name, _iterator(method))
    return platform


def _other_loop(platform: Any) -> asyncio.AbstractEventLoop | None:
    loop: asyncio.AbstractEventLoop | None = platform._entering.other_loop  # noqa: SLF001 - its part
    return loop


def _coroutine(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (loop := _other_loop(self)) is None:
            return await method(self, *args, **kwargs)
        return await call_on(loop, partial(method, self, *args, **kwargs))

    return call


def _iterator(method: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
    @wraps(method)
    async def iterate(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        values = method(self, *args, **kwargs)
        loop = _other_loop(self)

        async def step() -> Any:
            return await anext(values, _END)

        try:
            while (value := await (step() if loop is None else call_on(loop, step))) is not _END:
                yield value
        finally:
            await (values.aclose() if loop is None else call_on(loop, values.aclose))

    return iterate


async def call_on(
    loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, T]], *, patience: float = 10.0
) -> T:
    """Await a call on another event loop of this process, which runs in another thread.

    The call runs in a copy of this context. Cancelling this cancels the call.

    Args:
        loop: The other event loop.
        call: Makes the coroutine, on that loop.
        patience: For how many seconds that loop may be blocked.

    Raises:
        SetupError: The loop isn't running. The call was not made.
        PlatformUnavailableError: The loop did not begin the call in time, as when it is blocked by something that waits
            for this thread. The call was not made, and will not be.
        OutcomeUnknownError: The loop was blocked or closed during the call.
    """
    if not loop.is_running():
        raise SetupError(
            "The platform was opened on an event loop that isn't running: call it while that loop runs, or open the "
            "platform on this one."
        )
    handed: Future[T] = Future()
    tasks: list[asyncio.Task[T]] = []

    def begin_there() -> None:
        if handed.set_running_or_notify_cancel():
            tasks.append(loop.create_task(call()))
            tasks[0].add_done_callback(partial(_hand_back, handed))

    def cancel_there() -> None:
        for task in tasks:
            task.cancel()

    answer = asyncio.wrap_future(handed)
    _call_soon(loop, begin_there)
    try:
        return await _answered(loop, handed, answer, patience)
    except asyncio.CancelledError:
        if not handed.cancel():
            _call_soon(loop, cancel_there)
        raise
    finally:
        answer.cancel()  # when it was given up, nobody looks at what comes later


async def _answered(
    loop: asyncio.AbstractEventLoop, handed: Future[T], answer: asyncio.Future[T], patience: float
) -> T:
    heard: threading.Event | None = None
    while not (await asyncio.wait([answer], timeout=patience))[0]:
        if handed.cancel():  # it has not begun, and now it never will
            raise PlatformUnavailableError(
                "The platform's event loop is blocked, and nothing was done. Does it wait for this thread?"
            )
        if heard is not None and not heard.is_set():
            raise OutcomeUnknownError
        heard = threading.Event()
        _call_soon(loop, heard.set)
    return answer.result()


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        raise OutcomeUnknownError from None  # the loop has been closed


def _hand_back(handed: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        handed.set_exception(OutcomeUnknownError())  # the loop is about to end
    elif (error := task.exception()) is not None:
        handed.set_exception(error)
    else:
        handed.set_result(task.result())


S = TypeVar("S")


class Entering(Generic[S]):
    """Lets a platform be entered within itself, as a test around a served app does. Each entry binds it.

    An entry on another event loop than the first one's only binds the platform: it neither opens nor closes it.

    Args:
        platform: The platform; errors name its class alone, and so no path or address of the server.
        open: Opens what it works with.

    Attributes:
        resource: What was opened; None while the platform is not entered.
    """

    def __init__(self, platform: Platform, open: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        self.resource: S | None = None
        self._platform = platform
        self._open = open
        self._claiming = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entries = 0
        self._process = 0
        self._opening = asyncio.Lock()
        self._exits: dict[asyncio.AbstractEventLoop, list[AsyncExitStack]] = {}

    @property
    def other_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the platform works on; None when that is the current one, or it is not entered.

        Raises:
            SetupError: The platform was entered before this process was forked.
        """
        if not self._entries or self._loop is asyncio.get_running_loop():
            return None
        self._check_process()
        return self._loop

    async def enter(self) -> None:
        """Open what the platform works with, unless it is open, and bind the platform."""
        here = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            if (loop := self._claim(here)) is here:
                stack.callback(self._release)
                async with self._opening:
                    if self.resource is None:
                        self.resource = await stack.enter_async_context(self._open())
                        stack.callback(self._forget)
            else:
                await call_on(loop, self._opened)
            stack.enter_context(bind(Binding(self._platform)))
            self._exits.setdefault(here, []).append(stack.pop_all())

    async def leave(self) -> None:
        """Undo the entry before; the first one closes.

        Raises:
            SetupError: The entry was on another event loop.
        """
        here = asyncio.get_running_loop()
        stacks = self._exits.get(here)
        if stacks is None:
            raise SetupError("The platform is left on another event loop than it was entered on.")
        stack = stacks.pop()
        if not stacks:
            del self._exits[here]
        await stack.aclose()

    def opened(self) -> S:
        """What is open.

        Raises:
            SetupError: The platform is not entered, or on another event loop than this one.
        """
        if self.resource is None:
            raise SetupError(f"The {type(self._platform).__name__} is not open. {HOW_TO_RUN}")
        if asyncio.get_running_loop() is not self._loop:
            raise SetupError(
                "The platform is open on another event loop: enter `platform.execute(app)` there. A platform executes "
                "on one event loop, and can be called from any."
            )
        return self.resource

    def _claim(self, here: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """The event loop that the platform works on, which is this one unless another came first."""
        with self._claiming:
            if self._loop is None or not self._entries:
                self._loop, self._opening = here, asyncio.Lock()
                self._process = os.getpid()
            if self._loop is here:
                self._entries += 1
            else:
                self._check_process()
            return self._loop

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise SetupError(
                "The platform was opened before this process was forked: make and enter a platform in this process."
            )

    def _release(self) -> None:
        with self._claiming:
            self._entries -= 1

    async def _opened(self) -> None:
        async with self._opening:
            self.opened()

    def _forget(self) -> None:
        self.resource = None
