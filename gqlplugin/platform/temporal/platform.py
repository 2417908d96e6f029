"""Temporal as a platform: API processes start runs, and worker processes run the jobs."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Self

from pydantic import SecretStr
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import TLSConfig

from gqlplugin.checks import check_counts, check_durations
from gqlplugin.errors import (
    FailedPreconditionError,
    InvalidInputError,
    NotFoundError,
    PlatformCredentialsError,
    UnsupportedError,
)
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import (
    Binding,
    Definitions,
    Entering,
    RunnableWorkflow,
    bind,
    callable_from_any_loop,
    find_binding,
)
from gqlplugin.platform.job_log import capturing_print
from gqlplugin.platform.queue import QueueDepth
from gqlplugin.platform.temporal.client import answering, refuses_credentials
from gqlplugin.platform.temporal.control import Steering
from gqlplugin.platform.temporal.messages import run_of_job
from gqlplugin.platform.temporal.reading import Describing, History, Listing, Waiting
from gqlplugin.platform.temporal.starts import Limits, Starts
from gqlplugin.platform.temporal.worker import WorkerOptions, working
from gqlplugin.platform.watch import Watches
from gqlplugin.runs import (
    ExecutionFilter,
    ExecutionPage,
    JobExecution,
    Values,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
    trim_job,
)

_logger = logging.getLogger("gqlplugin.temporal")

_POLL = timedelta(milliseconds=100)
_LONGEST_POLL = timedelta(seconds=1)
_LONGEST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was given to `TemporalPlatform`."""

    address: str
    namespace: str
    task_queue: str
    tls: bool | TLSConfig
    api_key: SecretStr | None
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What works while the platform is entered."""

    client: Client
    starts: Starts
    runs: Describing
    history: History
    waiting: Waiting
    listing: Listing
    steering: Steering
    watches: Watches


async def connection(
    options: Options, *, check_name: Callable[[str], None], limit_of: Callable[[str], int | None]
) -> Connection:
    """Make what calls the service. Nothing is sent before the first call."""
    client = await _connect(options, lazy=True)
    timeout = options.limits.timeout
    starts = Starts(client, options.task_queue, options.limits, check_name=check_name, limit_of=limit_of)
    runs = Describing(client, options.task_queue, timeout)
    history = History(client, timeout)
    waiting = Waiting(runs, history, timeout)
    return Connection(
        client=client,
        starts=starts,
        runs=runs,
        history=history,
        waiting=waiting,
        listing=Listing(client, options.task_queue, runs.of, waiting.at, timeout),
        steering=Steering(client, options.task_queue, options.limits, runs, history, limit_of=limit_of),
        watches=Watches(runs.look_at, _POLL, _LONGEST_POLL),
    )


async def check(client: Client, timeout: timedelta) -> None:
    """Check that the service answers and has the namespace.

    Raises:
        GqlpluginError: It doesn't, as `answering` has it.
    """
    async with answering(timeout):
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))


async def connected(options: Options) -> Client:
    """A client that is connected, which a process that runs jobs needs: it waits for the service.

    Raises:
        PlatformCredentialsError: The service refuses the credentials.
    """
    pause = 0.5
    while True:
        try:
            return await _connect(options, lazy=False)
        except RuntimeError as error:
            if refuses_credentials(error):
                raise PlatformCredentialsError from error
            _logger.warning("The Temporal service at %s can't be reached yet: %s", options.address, _first_line(error))
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


async def _connect(options: Options, *, lazy: bool) -> Client:
    return await Client.connect(
        options.address,
        namespace=options.namespace,
        tls=options.tls,
        api_key=None if options.api_key is None else options.api_key.get_secret_value(),
        lazy=lazy,
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


_TASK_QUEUE = re.compile(r"[A-Za-z0-9._:/-]{1,200}")  # what is put into queries, and begins the IDs of workflows


@callable_from_any_loop
class TemporalPlatform:
    """Starts workflows on Temporal, for when one machine is not enough.

    ```python
    platform = TemporalPlatform("temporal.internal:7233", namespace="shop", task_queue="shop")
    ```

    API processes start runs and tell of them; the jobs run in processes of their own, `gqlplugin worker module:app`, as
    many as you like. `docs/temporal.md` says what to set up, the README what Temporal gives otherwise than the embedded
    platform does.

    Args:
        address: Host and port of the service.
        namespace: Where the runs are.
        task_queue: Of the app: each app has one of its own, and sees the runs of no other.
        tls: Whether to connect by TLS, or how.
        api_key: Of Temporal Cloud; TLS is on with it.
        timeout: For a call to the service.
        heartbeat_timeout: After which silence a process that runs jobs counts as dead, and another one goes on with its
            runs. A job that blocks the event loop for as long runs twice.
        shutdown_grace: How long jobs may go on when their process is told to stop.
        max_concurrent_runs: How many runs execute at once in a process.
        threads: How many threads jobs that are plain functions may use.
        max_arg_bytes: Longest argument, in bytes of UTF-8.

    Raises:
        InvalidInputError: A value is empty or not above 0.
    """

    separate_workers = True

    def __init__(
        self,
        address: str = "localhost:7233",
        *,
        namespace: str = "default",
        task_queue: str,
        tls: bool | TLSConfig = False,
        api_key: str | SecretStr | None = None,
        timeout: timedelta = timedelta(seconds=10),
        heartbeat_timeout: timedelta = timedelta(seconds=30),
        shutdown_grace: timedelta = timedelta(seconds=30),
        max_concurrent_runs: int = 200,
        threads: int = 32,
        max_arg_bytes: int = 1024 * 1024,
    ) -> None:
        check_durations(
            "TemporalPlatform",
            {"timeout": timeout, "heartbeat_timeout": heartbeat_timeout, "shutdown_grace": shutdown_grace},
        )
        check_counts(
            "TemporalPlatform",
            {"max_concurrent_runs": max_concurrent_runs, "threads": threads, "max_arg_bytes": max_arg_bytes},
        )
        if not (address and namespace):
            raise InvalidInputError("`address` and `namespace` must not be empty.")
        if not _TASK_QUEUE.fullmatch(task_queue):
            raise InvalidInputError(
                f"`task_queue` has letters, digits and any of - _ . : / only, 1 to 200 of them, unlike {task_queue!r}."
            )
        if min(timeout, heartbeat_timeout) <= timedelta(0) or min(max_concurrent_runs, threads, max_arg_bytes) < 1:
            raise InvalidInputError("Times, and how much there may be of something, must be above 0.")
        self._options = Options(
            address=address,
            namespace=namespace,
            task_queue=task_queue,
            tls=tls or api_key is not None,
            api_key=SecretStr(api_key) if isinstance(api_key, str) else api_key,
            limits=Limits(timeout=timeout, heartbeat=heartbeat_timeout, max_arg_bytes=max_arg_bytes),
        )
        self._worker_options = WorkerOptions(
            max_concurrent_runs=max_concurrent_runs,
            threads=threads,
            heartbeat=heartbeat_timeout,
            grace=shutdown_grace,
            timeout=timeout,
        )
        self._entering = Entering(self, self._open)
        self._definitions: Definitions | None = None

    def __repr__(self) -> str:
        where = self._options
        return f"<TemporalPlatform {where.address!r}, namespace {where.namespace!r}, task queue {where.task_queue!r}>"

    async def __aenter__(self) -> Self:
        await self._entering.enter()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._entering.leave()

    @asynccontextmanager
    async def execute(self, definitions: Definitions) -> AsyncIterator[None]:
        """While entered, this process runs jobs of the definitions, beside others that do.

        It waits for a service that can't be reached yet.

        Raises:
            FailedPreconditionError: This platform executes other definitions already, or the namespace lacks the search
                attributes and they can't be made from here.
        """
        opened = self._entering.opened()
        if self._definitions is not None:
            raise FailedPreconditionError(f"{self!r} executes an app already: give each app a platform of its own.")
        self._definitions = definitions
        try:
            async with definitions.running(self):
                with bind(Binding(self, definitions)), capturing_print(definitions), _queue_told(opened, definitions):
                    async with working(
                        partial(connected, self._options),
                        self._options.task_queue,
                        definitions,
                        opened.starts,
                        self._worker_options,
                    ):
                        yield
        finally:
            self._definitions = None

    async def check_health(self) -> None:
        """Check that the service answers and has the namespace; see `Platform.check_health`."""
        await check(self._entering.opened().client, self._options.limits.timeout)

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
        """Start a run; see `Platform.start_workflow`."""
        return await self._entering.opened().starts.start(
            name, arg, caller=caller, invoker=invoker, idempotency_key=idempotency_key, run_id=run_id
        )

    async def takes_run_ids(self) -> bool:
        """Whether a run's ID can be chosen; see `Platform.takes_run_ids`."""
        return True

    async def start_workflows(
        self, name: str, args: Sequence[str], *, caller: User, invoker: AuthInvoker | None = None
    ) -> list[str]:
        """Start one run per argument, all or none; see `Platform.start_workflows`."""
        return await self._entering.opened().starts.start_all(name, args, caller=caller, invoker=invoker)

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        """A run by its ID; see `Platform.get_execution`."""
        _, run = await self._entering.opened().runs.get(run_id)
        return run

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        """The jobs of runs; see `Platform.get_jobs`."""
        opened = self._entering.opened()
        return {run_id: [trim_job(job, values) for job in await _jobs_of(opened, run_id)] for run_id in run_ids}

    async def get_job(self, job_id: str) -> JobExecution:
        """A job by its ID; see `Platform.get_job`."""
        for job in await _jobs_of(self._entering.opened(), run_of_job(job_id)):
            if job.id == job_id:
                return job
        raise NotFoundError(f"There is no job {job_id!r}.")

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        """A page of runs; see `Platform.list_executions`. It may lag behind by moments."""
        return await self._entering.opened().listing.runs(where, first, after)

    async def count_executions(self, where: ExecutionFilter) -> int:
        """Refuse: the service counts workflows, and a run that was resumed is several; see `Platform.count_executions`.

        Raises:
            UnsupportedError: Always.
        """
        del where
        raise UnsupportedError("Runs can't be counted on Temporal.")

    async def count_jobs(self) -> int:
        """Refuse: jobs are kept in the histories of their runs; see `Platform.count_jobs`.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError("Jobs can't be counted on Temporal.")

    async def resume(self, run_id: str) -> None:
        """Run a failed or canceled run again; see `Platform.resume`."""
        await self._entering.opened().steering.resume(run_id)

    async def cancel(self, run_id: str) -> None:
        """End a run that has not ended; see `Platform.cancel`. A running job is told within a second or so."""
        await self._entering.opened().steering.cancel(run_id)

    async def resolve(self, run_id: str, wait_point: str, result: str, *, job_id: str | None = None) -> None:
        """Answer a run that waits; see `Platform.resolve`. A process that runs jobs must be there to take it."""
        await self._entering.opened().steering.resolve(run_id, wait_point, result, job_id=job_id)

    async def list_waits(self, where: WaitFilter, *, first: int, after: str | None = None) -> WaitPage:
        """A page of the runs that wait; see `Platform.list_waits`. Unless of one run, it may lag behind by moments."""
        opened = self._entering.opened()
        if where.run_id is not None and after is None:
            return await opened.waiting.of_run(where)
        return await opened.listing.waits(where, first, after)

    async def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
        """The run, again after every change that is noticed, until it has ended; see `Platform.watch`."""
        async with aclosing(self._entering.opened().watches.watch(run_id)) as runs:
            async for run in runs:
                yield run

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Connection]:
        opened = await connection(self._options, check_name=self._check_name, limit_of=self._limit_of)
        try:
            yield opened
        finally:
            await opened.watches.close()

    def _workflow(self, name: str) -> RunnableWorkflow | None:
        definitions = self._bound()
        if definitions is None:
            return None
        return definitions.workflows.get(name) or definitions.firings.get(name)

    def _bound(self) -> Definitions | None:
        if self._definitions is not None:
            return self._definitions
        binding = find_binding()
        return None if binding is None else binding.definitions

    def _check_name(self, name: str) -> None:
        definitions, workflow = self._bound(), self._workflow(name)
        if definitions is None:
            return
        if workflow is None:
            raise NotFoundError(f"App {definitions.name!r} has no workflow {name!r}.")
        if workflow.main_job is None:
            raise UnsupportedError(f"Workflow {name!r} is defined elsewhere and can't run on Temporal.")

    def _limit_of(self, name: str) -> int | None:
        workflow = self._workflow(name)
        policy = None if workflow is None else workflow.concurrency_policy
        return None if policy is None else policy.max_concurrent_executions


@contextmanager
def _queue_told(opened: Connection, definitions: Definitions) -> Iterator[None]:
    """Let metrics tell how many runs wait."""
    names = [*definitions.workflows, *definitions.firings]
    queue = QueueDepth(partial(opened.listing.queued, names), names)
    try:
        yield
    finally:
        queue.stop()


async def _jobs_of(opened: Connection, run_id: str) -> list[JobExecution]:
    try:
        found, run = await opened.runs.get(run_id)
    except NotFoundError:
        return []
    return await opened.history.jobs(found, run)
