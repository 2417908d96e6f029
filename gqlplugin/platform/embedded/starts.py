"""Starting runs: from outside, and from jobs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from gqlplugin.checks import executor_of
from gqlplugin.codec import check_json, is_longer, is_unicode
from gqlplugin.errors import IdempotencyKeyReusedError, InvalidInputError
from gqlplugin.idempotency import note_earlier_start
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import is_uuid7, uuid7
from gqlplugin.platform.embedded import writer as journal
from gqlplugin.platform.embedded.reader import find_run
from gqlplugin.platform.embedded.retention import ExpiryClock
from gqlplugin.platform.embedded.rows import AT_ONCE, job_row, run_row, to_microseconds
from gqlplugin.platform.embedded.writer import Part, Writer
from gqlplugin.runs import ExecutionStatus, JobExecution, WorkflowExecution
from gqlplugin.telemetry import current_trace

MAX_KEY_LENGTH = 255
MAX_STARTS = 1000


class Starts:
    """Writes new runs.

    Args:
        writer: Where to.
        check_name: Refuses a workflow that can't be run.
        started: Told of each new run once it is durable.
        max_arg_bytes: Longest argument, in bytes of UTF-8.
        max_sum_bytes: The same for all arguments of `start_all` together.
        key_ttl: How long an idempotency key is kept.
        firing_key_ttl: The same for the firings of executors, unless the other is longer.
        clock: By which keys expire.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        check_name: Callable[[str], None],
        started: Callable[[WorkflowExecution], None],
        max_arg_bytes: int,
        max_sum_bytes: int,
        key_ttl: timedelta,
        firing_key_ttl: timedelta,
        clock: ExpiryClock,
    ) -> None:
        self._writer = writer
        self._check_name = check_name
        self._started = started
        self._max_arg_bytes = max_arg_bytes
        self._max_sum_bytes = max_sum_bytes
        self._key_ttl = key_ttl
        self._firing_key_ttl = firing_key_ttl
        self._clock = clock

    async def start(
        self,
        name: str,
        arg: str,
        *,
        caller: User,
        invoker: AuthInvoker | None,
        idempotency_key: str | None,
        run_id: str | None = None,
        depth: int = 0,
        within: JobExecution | None = None,
    ) -> str:
        """Start a run, durably, and return its ID.

        Args:
            name: The workflow's name.
            arg: JSON text.
            caller: Who starts it.
            invoker: The machine user it runs as.
            idempotency_key: The caller's own.
            run_id: The ID it is to have; see `Platform.start_workflow`.
            depth: How many workflows triggered each other down to this one.
            within: A record whose result is to be the ID, written in the same transaction.
        """
        if run_id is not None and not is_uuid7(run_id):
            raise InvalidInputError(f"A run's ID is a UUID of version 7 in lower case, not {run_id!r}.")
        run = self._new(
            name,
            arg,
            caller=caller,
            invoker=invoker,
            depth=depth,
            run_id=run_id,
            idempotency_key=idempotency_key,
        )
        if run_id is not None:
            return await self._start_given(run)
        if idempotency_key is not None:
            return await self._start_once(run, idempotency_key, within)
        row = run_row(run, due_at=AT_ONCE)
        part = self._part(within)
        if within is not None:
            part.put_job(job_row(_answered(within, run.id)))
        part.insert_runs([row], partial(self._started, run))
        await self._writer.commit(part)
        return run.id

    async def start_all(
        self,
        name: str,
        args: Sequence[str],
        *,
        caller: User,
        invoker: AuthInvoker | None,
        depth: int = 0,
        within: JobExecution | None = None,
    ) -> list[str]:
        """Start one run per argument, durably, in one transaction, and return their IDs."""
        if len(args) > MAX_STARTS:
            raise InvalidInputError(f"At most {MAX_STARTS} runs are started at once, not {len(args)}.")
        if sum(map(len, args)) * 4 > self._max_sum_bytes and is_longer("".join(args), self._max_sum_bytes):
            raise InvalidInputError(
                f"The arguments have more than {self._max_sum_bytes} bytes together: start fewer runs at once, or keep "
                "large values elsewhere and refer to them. Nothing was started."
            )
        runs = [self._new(name, arg, caller=caller, invoker=invoker, depth=depth) for arg in args]
        run_ids = [run.id for run in runs]
        rows = [run_row(run, due_at=AT_ONCE) for run in runs]
        part = self._part(within)
        if within is not None:
            part.put_job(job_row(replace(within, result=json.dumps(run_ids))))

        def then() -> None:
            for run in runs:
                self._started(run)

        part.insert_runs(rows, then)
        await self._writer.commit(part)
        return run_ids

    def _part(self, within: JobExecution | None) -> Part:
        """What the start is written with: the record of the job that makes it, or nothing else."""
        return Part() if within is None else self._writer.recorded(within.run_id)

    def _new(
        self,
        name: str,
        arg: str,
        *,
        caller: User,
        invoker: AuthInvoker | None,
        depth: int,
        run_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> WorkflowExecution:
        """A run that can be started."""
        self._check_name(name)
        check_json(arg, max_bytes=self._max_arg_bytes)
        if not all(map(is_unicode, (name, arg, caller.id, idempotency_key or ""))):
            raise InvalidInputError("The arguments, the caller or the idempotency key hold half a surrogate pair.")
        return WorkflowExecution(
            id=run_id or uuid7(),
            workflow_name=name,
            status=ExecutionStatus.PENDING,
            input=arg,
            created_at=datetime.now(UTC),
            caller=caller,
            invoker=invoker,
            depth=depth,
            trace=current_trace(),
        )

    async def _start_once(self, run: WorkflowExecution, key: str, within: JobExecution | None) -> str:
        if not 0 < len(key) <= MAX_KEY_LENGTH:
            raise InvalidInputError(f"An idempotency key has 1 to {MAX_KEY_LENGTH} characters, not {len(key)}.")
        # a sender may deliver an event again days later
        ttl = self._key_ttl if executor_of(run.workflow_name) is None else max(self._key_ttl, self._firing_key_ttl)

        def then(run_id: str) -> None:
            if run_id == run.id:
                self._started(run)

        start = partial(
            _start_once, run=run, key=key, now=self._clock(), expires_at=run.created_at + ttl, within=within
        )
        run_id = await self._writer.call(start, then, part=self._part(within))
        if run_id != run.id:
            note_earlier_start()
        return run_id

    async def _start_given(self, run: WorkflowExecution) -> str:
        def then(is_new: bool) -> None:
            if is_new:
                self._started(run)

        await self._writer.call(partial(_start_given, run=run), then)
        return run.id


def _start_given(connection: sqlite3.Connection, *, run: WorkflowExecution) -> bool:
    """Insert a run unless it is there; whether it was inserted."""
    if journal.insert_new_run(connection, run_row(run, due_at=AT_ONCE)):
        return True
    known = find_run(connection, run.id)
    if known is None or _fingerprint(known) != _fingerprint(run):
        raise IdempotencyKeyReusedError("This run ID was used for another request.")
    return False


def _start_once(
    connection: sqlite3.Connection,
    *,
    run: WorkflowExecution,
    key: str,
    now: datetime,
    expires_at: datetime,
    within: JobExecution | None,
) -> str:
    run_id = _find_key(connection, run, key, now)
    if run_id is None:
        run_id = run.id
        journal.insert_run(connection, run_row(run, due_at=AT_ONCE))
        connection.execute(
            "INSERT OR REPLACE INTO idempotency_key (caller_id, key, run_id, fingerprint, expires_at, kept_since) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                run.caller.id,
                key,
                run_id,
                _fingerprint(run),
                to_microseconds(expires_at),
                to_microseconds(run.created_at),
            ),
        )
    if within is not None:
        journal.put_job(connection, job_row(_answered(within, run_id)))
    return run_id


def _find_key(connection: sqlite3.Connection, run: WorkflowExecution, key: str, now: datetime) -> str | None:
    found = connection.execute(
        "SELECT run_id, fingerprint FROM idempotency_key WHERE caller_id = ? AND key = ? AND expires_at > ?",
        (run.caller.id, key, to_microseconds(now)),
    ).fetchone()
    if found is None:
        return None
    run_id, fingerprint = found
    if fingerprint != _fingerprint(run):
        raise IdempotencyKeyReusedError
    return str(run_id)


def _fingerprint(run: WorkflowExecution) -> str:
    invoker = None if run.invoker is None else [run.invoker.namespace, run.invoker.machine_user_name]
    request = json.dumps([run.workflow_name, json.loads(run.input), invoker], sort_keys=True)
    return hashlib.sha256(request.encode()).hexdigest()


def _answered(record: JobExecution, run_id: str) -> JobExecution:
    return replace(record, result=json.dumps(run_id))
