"""Starting runs on Temporal: each is a workflow of its own, whose ID is the run's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from gqlplugin.codec import check_json, is_unicode
from gqlplugin.errors import IdempotencyKeyReusedError, InvalidInputError, PlatformUnavailableError
from gqlplugin.idempotency import MAX_KEY_LENGTH, note_earlier_start
from gqlplugin.identity import AuthInvoker, User, dump_invoker, dump_user
from gqlplugin.platform.base import is_uuid7, uuid7
from gqlplugin.platform.temporal.batch import MAX_BATCH_BYTES, batch_bytes
from gqlplugin.platform.temporal.client import answering
from gqlplugin.platform.temporal.messages import BATCH, FACTS, MAX_MEMO_CHARACTERS, Facts, NewRun, Start, caller_mark
from gqlplugin.telemetry import current_trace

MAX_STARTS = 1000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What starts need to know of the platform.

    Attributes:
        timeout: For a call.
        heartbeat: After which silence a process that runs jobs counts as dead.
        max_arg_bytes: Longest argument, in bytes of UTF-8.
    """

    timeout: timedelta
    heartbeat: timedelta
    max_arg_bytes: int


class Starts:
    """Starts runs.

    Args:
        client: Calls the service.
        task_queue: Where processes that run jobs look for them.
        limits: How.
        check_name: Refuses a workflow that can't be run.
        limit_of: How many runs of a workflow execute at once, as far as is known.
    """

    def __init__(
        self,
        client: Client,
        task_queue: str,
        limits: Limits,
        *,
        check_name: Callable[[str], None],
        limit_of: Callable[[str], int | None],
    ) -> None:
        self._client = client
        self._task_queue = task_queue
        self._limits = limits
        self._check_name = check_name
        self._limit_of = limit_of

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
        within: str | None = None,
    ) -> str:
        """Start a run and return its ID; see `Platform.start_workflow`.

        Args:
            name: The workflow's name.
            arg: JSON text.
            caller: Who starts it.
            invoker: The machine user it runs as.
            idempotency_key: The caller's own.
            run_id: The ID it is to have.
            depth: How many workflows triggered each other down to this one.
            within: The ID of the job's trigger that starts it, and that may have done so before.
        """
        if run_id is not None and not is_uuid7(run_id):
            raise InvalidInputError(f"A run's ID is a UUID of version 7 in lower case, not {run_id!r}.")
        if idempotency_key is not None:
            self._check_key(idempotency_key)
        given = run_id or self._derived_id(caller, idempotency_key, within)
        new = self._new(name, arg, caller, invoker, run_id=given, depth=depth)
        if given is None:
            await self._begin(new)
        elif not await self._begin_once(new) and idempotency_key is not None:
            note_earlier_start()
        return new.run_id

    async def start_all(
        self,
        name: str,
        args: Sequence[str],
        *,
        caller: User,
        invoker: AuthInvoker | None,
        depth: int = 0,
        within: str | None = None,
    ) -> list[str]:
        """Start one run per argument, all or none; see `Platform.start_workflows`.

        What starts them is durable when this returns, or the runs are there already.
        """
        if len(args) > MAX_STARTS:
            raise InvalidInputError(f"At most {MAX_STARTS} runs are started at once, not {len(args)}.")
        ids = [None if within is None else derived_id(within, number) for number in range(len(args))]
        runs = [
            self._new(name, arg, caller, invoker, run_id=given, depth=depth)
            for arg, given in zip(args, ids, strict=True)
        ]
        if batch_bytes(runs) > MAX_BATCH_BYTES:
            raise InvalidInputError(f"Runs that are started at once may have {MAX_BATCH_BYTES} bytes together.")
        if runs:
            await self._begin_batch(runs, uuid7() if within is None else derived_id(within))
        return [new.run_id for new in runs]

    async def _begin_batch(self, runs: Sequence[NewRun], batch_id: str) -> None:
        async with answering(self._limits.timeout):
            try:
                batch = await self._client.start_workflow(
                    BATCH,
                    list(runs),
                    id=f"{self._task_queue}/batch/{batch_id}",
                    task_queue=self._task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                )
            except WorkflowAlreadyStartedError:
                return
        try:
            async with answering(self._limits.timeout):
                await batch.result()
        except PlatformUnavailableError:
            pass  # it is durable: the runs are there as soon as a process that runs jobs is

    def _new(
        self, name: str, arg: str, caller: User, invoker: AuthInvoker | None, *, run_id: str | None, depth: int
    ) -> NewRun:
        self._check_name(name)
        check_json(arg, max_bytes=self._limits.max_arg_bytes)
        if not all(map(is_unicode, (name, arg, caller.id))):
            raise InvalidInputError("The arguments or the caller hold half a surrogate pair.")
        return new_run(
            name,
            arg,
            caller=caller,
            invoker=invoker,
            heartbeat_seconds=self._limits.heartbeat.total_seconds(),
            run_id=run_id,
            depth=depth,
            limit=self._limit_of(name),
        )

    def _check_key(self, key: str) -> None:
        if not 0 < len(key) <= MAX_KEY_LENGTH:
            raise InvalidInputError(f"An idempotency key has 1 to {MAX_KEY_LENGTH} characters, not {len(key)}.")
        if not is_unicode(key):
            raise InvalidInputError("The idempotency key holds half a surrogate pair.")

    def _derived_id(self, caller: User, key: str | None, within: str | None) -> str | None:
        if key is not None:
            return derived_id("key", self._task_queue, caller.id, key)
        return None if within is None else derived_id(within)

    async def _begin(self, new: NewRun) -> None:
        async with answering(self._limits.timeout):
            await self._client.start_workflow(
                new.name,
                args=[vars(new.start), b""],  # plain dicts are written much faster than dataclasses
                id=new.run_id,
                task_queue=self._task_queue,
                memo=new.memo,
                search_attributes=new.search_attributes,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            )

    async def _begin_once(self, new: NewRun) -> bool:
        """Start a run unless there is one with its ID; whether it was started.

        Raises:
            IdempotencyKeyReusedError: The one that is there was another request.
        """
        try:
            await self._begin(new)
        except WorkflowAlreadyStartedError:
            async with answering(self._limits.timeout):
                known = await self._client.get_workflow_handle(new.run_id).describe()
                facts = await known.memo_value(FACTS, default=None, type_hint=Facts)
            if facts is None or facts.fingerprint != new.facts.fingerprint:
                raise IdempotencyKeyReusedError from None
            return False
        return True


def new_run(
    name: str,
    arg: str,
    *,
    caller: User,
    invoker: AuthInvoker | None,
    heartbeat_seconds: float,
    run_id: str | None = None,
    depth: int = 0,
    limit: int | None = None,
) -> NewRun:
    """A run that can be started; its arguments are those of `Starts.start`.

    Raises:
        InvalidInputError: The argument holds a number that is too long.
    """
    return NewRun(
        run_id=run_id or uuid7(),
        name=name,
        start=Start(input=arg, heartbeat_seconds=heartbeat_seconds, limit=limit),
        facts=Facts(
            caller=dump_user(caller),
            invoker=dump_invoker(invoker),
            created_at=datetime.now(UTC).isoformat(),
            fingerprint="" if run_id is None else fingerprint(name, arg, invoker),
            depth=depth,
            input=arg if len(arg) <= MAX_MEMO_CHARACTERS else None,
            trace=None if (trace := current_trace()) is None else dict(trace),
        ),
        caller=caller_mark(caller.id),
    )


def fingerprint(name: str, arg: str, invoker: AuthInvoker | None) -> str:
    """What tells the request for a run from others, whatever the order of keys and the white space.

    Raises:
        InvalidInputError: The argument holds a number that is too long.
    """
    try:
        request = json.dumps([name, json.loads(arg), dump_invoker(invoker)], sort_keys=True)
    except ValueError as error:
        raise InvalidInputError(f"The arguments can't be read: {error}.") from None
    return hashlib.sha256(request.encode()).hexdigest()


def derived_id(*said: str | int) -> str:
    """The ID of a run that follows from what it is started for: a UUID of version 8, as it says nothing of the time."""
    digest = int.from_bytes(hashlib.sha256(json.dumps(said).encode()).digest()[:16])
    return str(UUID(int=digest & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62))
