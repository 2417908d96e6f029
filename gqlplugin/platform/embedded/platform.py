"""The embedded platform: runs in one SQLite file, jobs in the process that serves GraphQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

from gqlplugin.checks import check_counts, check_durations
from gqlplugin.codec import check_json, is_unicode
from gqlplugin.errors import FailedPreconditionError, InvalidInputError, NotFoundError, UnsupportedError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import Binding, Definitions, Entering, bind, callable_from_any_loop, find_binding
from gqlplugin.platform.embedded.claims import resume
from gqlplugin.platform.embedded.control import cancel, find_waits, resolve
from gqlplugin.platform.embedded.file import checked_path
from gqlplugin.platform.embedded.journal import Journal
from gqlplugin.platform.embedded.reader import (
    count_jobs,
    count_runs,
    find_jobs,
    find_page,
    find_record_of_job,
    find_run,
)
from gqlplugin.platform.embedded.recorder import JournalRecorder
from gqlplugin.platform.embedded.retention import ExpiryClock, find_newest
from gqlplugin.platform.embedded.runner import Runner
from gqlplugin.platform.embedded.starts import Starts
from gqlplugin.platform.embedded.worker import Worker
from gqlplugin.platform.job_log import capturing_print
from gqlplugin.runs import (
    ExecutionFilter,
    ExecutionPage,
    ExecutionStatus,
    JobExecution,
    Values,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
    shown,
)
from gqlplugin.telemetry import count_end

MAX_PAGE = 1000
MAX_BYTES = 256 * 1024 * 1024
"""SQLite keeps no row of more than 1e9 bytes, and that of a job has its input and its result."""


@callable_from_any_loop
class EmbeddedPlatform:
    """A journal in one SQLite file: durable, in this process, no server.

    ```python
    platform = EmbeddedPlatform("shop.sqlite")
    ```

    Of the processes that open a file, one executes; the others may start, read and resume, and take over when it dies.
    Works on POSIX systems, on local disks (as SQLite's WAL mode does).

    Args:
        path: The file; it is made if it isn't there. A `.lock` file and SQLite's own files lie beside it.
        max_concurrent_runs: Runs that execute at once; the rest waits in the file.
        threads: Plain (not async) jobs that execute at once.
        shutdown_grace: How long running jobs get at shutdown; after it they are cancelled, have 5 seconds to clean up,
            and their runs go on at the next start. A plain job that works on keeps the file until it returns or the
            process ends.
        retention: How long finished runs are kept.
        idempotency_key_ttl: How long an idempotency key is kept.
        max_arg_bytes: Longest argument of a start, and longest answer to a wait point, in bytes of UTF-8.
        max_result_bytes: Longest result of a job, in bytes of UTF-8: above it the job fails with the code
            `RESULT_TOO_LARGE`. It also limits what jobs give to other jobs and to wait points, and the arguments of
            `trigger_many` together.
        max_recoveries: How often a run is begun again because the process that executed it died, without getting any
            further; after that it is FAILED with the code `PROCESS_DIED`. A resume begins a new count.

    Raises:
        ValueError: `max_recoveries` is less than 1, `max_arg_bytes` or `max_result_bytes` is not from 1 to 256 MiB, or
            `path` is empty or the URI of a file.
    """

    separate_workers = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_concurrent_runs: int = 1000,
        threads: int = 32,
        shutdown_grace: timedelta = timedelta(seconds=10),
        retention: timedelta = timedelta(days=30),
        idempotency_key_ttl: timedelta = timedelta(hours=24),
        max_arg_bytes: int = 1024 * 1024,
        max_result_bytes: int = 16 * 1024 * 1024,
        max_recoveries: int = 5,
    ) -> None:
        check_durations(
            "EmbeddedPlatform",
            {"shutdown_grace": shutdown_grace, "retention": retention, "idempotency_key_ttl": idempotency_key_ttl},
        )
        check_counts(
            "EmbeddedPlatform",
            {
                "max_concurrent_runs": max_concurrent_runs,
                "threads": threads,
                "max_arg_bytes": max_arg_bytes,
                "max_result_bytes": max_result_bytes,
                "max_recoveries": max_recoveries,
            },
        )
        if max_recoveries < 1:
            raise ValueError(f"max_recoveries must be at least 1, not {max_recoveries}")
        for name, limit in (("max_arg_bytes", max_arg_bytes), ("max_result_bytes", max_result_bytes)):
            if not 1 <= limit <= MAX_BYTES:
                raise ValueError(f"{name} must be from 1 to {MAX_BYTES}, not {limit}")
        self._max_recoveries = max_recoveries
        self._path = checked_path(path)
        self._max_concurrent_runs = max_concurrent_runs
        self._threads = threads
        self._shutdown_grace = shutdown_grace
        self._retention = retention
        self._key_ttl = idempotency_key_ttl
        self._max_arg_bytes = max_arg_bytes
        self._max_result_bytes = max_result_bytes
        self._entering = Entering(self, self._open)
        self._worker: Worker | None = None

    def __repr__(self) -> str:
        return f"<EmbeddedPlatform {self._path!r}>"

    async def __aenter__(self) -> Self:
        await self._entering.enter()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._entering.leave()

    @asynccontextmanager
    async def execute(self, definitions: Definitions) -> AsyncIterator[None]:
        """While entered, run the jobs of the definitions in this process, or stand by while another process does.

        Raises:
            FailedPreconditionError: This platform executes other definitions already.
        """
        journal, _ = self._entering.opened()
        if self._worker is not None:
            raise FailedPreconditionError(f"{self!r} executes an app already: give each app a platform of its own.")
        # what belongs to the definitions is there before the first job and after the last one
        async with definitions.running(self):
            with bind(Binding(self, definitions)), capturing_print(definitions):
                async with self._working(
                    Worker(definitions, journal, self._runner(definitions), retention=self._retention)
                ):
                    yield

    @asynccontextmanager
    async def _working(self, worker: Worker) -> AsyncIterator[None]:
        self._worker = worker
        try:
            await worker.start()
            yield
        finally:
            await worker.stop(self._shutdown_grace)
            self._worker = None

    def _runner(self, definitions: Definitions) -> Runner:
        journal, starts = self._entering.opened()
        recorder = JournalRecorder(journal.writer, starts, threads=self._threads, max_bytes=self._max_result_bytes)
        return Runner(
            definitions,
            journal.writer,
            journal.reader,
            recorder,
            max_concurrent_runs=self._max_concurrent_runs,
            max_recoveries=self._max_recoveries,
        )

    async def check_health(self) -> None:
        """Check that runs can be started; see `Platform.check_health`. It reads, and does not write."""
        journal, _ = self._entering.opened()
        await journal.check()

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
        _, starts = self._entering.opened()
        return await starts.start(
            name, arg, caller=caller, invoker=invoker, idempotency_key=idempotency_key, run_id=run_id
        )

    async def takes_run_ids(self) -> bool:
        """Whether a run's ID can be chosen; see `Platform.takes_run_ids`."""
        return True

    async def start_workflows(
        self, name: str, args: Sequence[str], *, caller: User, invoker: AuthInvoker | None = None
    ) -> list[str]:
        """Start one run per argument, all or none; see `Platform.start_workflows`."""
        _, starts = self._entering.opened()
        return await starts.start_all(name, args, caller=caller, invoker=invoker)

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        """A run by its ID; see `Platform.get_execution`."""
        journal, _ = self._entering.opened()
        run = await journal.reader.read(partial(find_run, run_id=run_id))
        if run is None:
            raise NotFoundError(f"There is no run {run_id!r}.")
        return run

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        """The jobs of runs; see `Platform.get_jobs`."""
        journal, _ = self._entering.opened()
        found = await journal.reader.read(partial(find_jobs, run_ids=run_ids, values=values))
        return {run_id: shown(jobs) for run_id, jobs in found.items()}

    async def get_job(self, job_id: str) -> JobExecution:
        """A job by its ID; see `Platform.get_job`."""
        journal, _ = self._entering.opened()
        record = await journal.reader.read(partial(find_record_of_job, job_id=job_id))
        for job in shown(record):
            if job.id == job_id:
                return job
        raise NotFoundError(f"There is no job {job_id!r}.")

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        """A page of runs; see `Platform.list_executions`."""
        journal, _ = self._entering.opened()
        _check_page(first)
        return await journal.reader.read(partial(find_page, where=where, first=first, after=after))

    async def count_executions(self, where: ExecutionFilter) -> int:
        """How many runs a listing has; see `Platform.count_executions`."""
        journal, _ = self._entering.opened()
        return await journal.reader.read(partial(count_runs, where=where))

    async def count_jobs(self) -> int:
        """How many jobs there are in all runs; see `Platform.count_jobs`."""
        journal, _ = self._entering.opened()
        return await journal.reader.read(count_jobs)

    async def resume(self, run_id: str) -> None:
        """Run a failed or canceled run again; see `Platform.resume`."""
        journal, _ = self._entering.opened()
        await journal.writer.call(partial(resume, run_id=run_id))
        if self._worker is not None:
            self._worker.wake()

    async def cancel(self, run_id: str) -> None:
        """End a run that has not ended; see `Platform.cancel`."""
        journal, _ = self._entering.opened()
        is_active = self._worker is not None and self._worker.is_active(run_id)
        now = datetime.now(UTC)
        ended = await journal.writer.call(partial(cancel, run_id=run_id, is_active=is_active, now=now))
        if ended is not None:
            count_end(ended, ExecutionStatus.CANCELED, now)
        if self._worker is not None:
            self._worker.heed_cancels()

    async def resolve(self, run_id: str, wait_point: str, result: str, *, job_id: str | None = None) -> None:
        """Answer a run that waits; see `Platform.resolve`."""
        journal, _ = self._entering.opened()
        check_json(result, max_bytes=self._max_arg_bytes)
        if not is_unicode(result):
            raise InvalidInputError("The result holds half a surrogate pair.")
        answer = partial(
            resolve, run_id=run_id, wait_point=wait_point, result=result, job_id=job_id, now=datetime.now(UTC)
        )
        await journal.writer.call(answer)
        if self._worker is not None:
            self._worker.wake()

    async def list_waits(self, where: WaitFilter, *, first: int, after: str | None = None) -> WaitPage:
        """A page of the runs that wait; see `Platform.list_waits`."""
        journal, _ = self._entering.opened()
        _check_page(first)
        return await journal.reader.read(partial(find_waits, where=where, first=first, after=after))

    async def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
        """The run, again after every change of it or its jobs, until it has ended; see `Platform.watch`."""
        journal, _ = self._entering.opened()
        with journal.changes.of(run_id, partial(self.get_execution, run_id)) as watched:
            number, run = await watched.now()
            while True:
                yield run
                if run.status.is_final:
                    return
                number, run = await watched.next(number)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[tuple[Journal, Starts]]:
        journal = await Journal.open(self._path)
        try:
            clock = ExpiryClock(await journal.writer.call(find_newest, writes=False))
            starts = Starts(
                journal.writer,
                check_name=self._check_name,
                started=self._started,
                max_arg_bytes=self._max_arg_bytes,
                max_sum_bytes=self._max_result_bytes,
                key_ttl=self._key_ttl,
                firing_key_ttl=self._retention,
                clock=clock,
            )
            yield journal, starts
        finally:
            await journal.close()

    def _started(self, run: WorkflowExecution) -> None:
        if self._worker is not None:
            self._worker.offer(run)

    def _check_name(self, name: str) -> None:
        binding = find_binding()
        definitions = self._worker.definitions if self._worker is not None else binding and binding.definitions
        if not definitions:
            return
        workflow = definitions.workflows.get(name) or definitions.firings.get(name)
        if workflow is None:
            raise NotFoundError(f"App {definitions.name!r} has no workflow {name!r}.")
        if workflow.main_job is None:
            raise UnsupportedError(f"Workflow {name!r} is defined elsewhere and can't run on the embedded platform.")


def _check_page(first: int) -> None:
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInputError(f"`first` must be from 1 to {MAX_PAGE}, not {first}.")
