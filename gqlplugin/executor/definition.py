"""Executors: their definition, what they show of themselves, and the job that one firing runs."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from gqlplugin.checks import Source, caller_source, check_function, check_type, firing_name
from gqlplugin.codec import JsonCodec, NotJsonError, check_json, describe, refused
from gqlplugin.errors import FailedPreconditionError, InvalidInputError, JobFailedError, contained
from gqlplugin.executor.operation import FiringOutcome, Operation
from gqlplugin.executor.trigger import ScheduleTrigger, Trigger
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.job import JobContext
from gqlplugin.platform.base import JobRuntime
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, RetryPolicy, WorkflowExecution

A = TypeVar("A")

Condition = Callable[[A], bool | Awaitable[bool]]
"""Whether to act on some arguments."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Executor(Generic[A]):
    """Something that happens by itself. Made by `create_executor`."""

    name: str
    trigger: Trigger[A]
    operation: Operation[A]
    description: str
    disabled: bool
    condition: Condition[A] | None
    source: Source


def create_executor(
    name: str,
    *,
    trigger: Trigger[A],
    operation: Operation[A],
    description: str = "",
    disabled: bool = False,
    condition: Condition[A] | None = None,
) -> Executor[A]:
    """Define something that happens by itself (TAILOR.md section 6).

    ```python
    create_executor(
        "order-created",
        trigger=record_created_trigger(Order),
        condition=lambda args: args.new_record.total_cents > 0,
        operation=workflow_operation(order_processing, args=lambda args: OrderProcessing(order_id=args.new_record.id)),
    )
    ```

    Each firing is a run of its own: kept before it begins, gone on with after a crash, with a log and a record.

    Args:
        name: 3 to 63 lower-case letters, digits and hyphens, unique among the executors of the app.
        trigger: What it waits for; says what condition and operation get.
        operation: What it does then.
        description: For people.
        disabled: Nothing fires it.
        condition: Whether to do it. One that raises fails the firing, which is not tried again.

    Raises:
        DefinitionError: An argument is of another type.
    """
    source = caller_source()
    where = f"Executor {name!r} at {source}"
    check_type(where, "name", name, str, 'create_executor("order-created", ...)')
    check_type(where, "trigger", trigger, Trigger, 'a trigger, such as schedule_trigger("0 2 * * *")')
    check_type(where, "operation", operation, Operation, "an operation, such as workflow_operation(...)")
    check_type(where, "description", description, str, 'description="..."')
    check_type(where, "disabled", disabled, bool, "disabled=True")
    if condition is not None:
        check_function(where, "condition", condition, 1, "a function of the trigger's arguments that returns a bool")
    return Executor(
        name=name,
        trigger=trigger,
        operation=operation,
        description=description,
        disabled=disabled,
        condition=condition,
        source=source,
    )


_OUTCOME: JsonCodec[FiringOutcome] = JsonCodec(FiringOutcome)
_BETWEEN_TRIES = (ExecutionStatus.PENDING, ExecutionStatus.PENDING_RESUME, ExecutionStatus.PENDING_RETRY)


def next_time_of(executor: Executor[Any], now: datetime) -> datetime | None:
    """When a schedule fires next; None for what has no schedule, or is disabled."""
    if executor.disabled or not isinstance(executor.trigger, ScheduleTrigger):
        return None
    return executor.trigger.schedule.after(now)


def attempts_of(run: WorkflowExecution) -> int:
    """How many tries have begun, since the firing or since it was resumed."""
    return run.attempt if run.status in _BETWEEN_TRIES else run.attempt + 1


def arguments_hash_of(run: WorkflowExecution) -> str:
    """The SHA-256 of the arguments, in hexadecimal: tells whether two firings had the same, and not which.

    It is that of their JSON with sorted keys and no white space, in UTF-8.
    """
    text = json.dumps(from_json(run.input), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def outcome_of(run: WorkflowExecution) -> FiringOutcome | None:
    """What came of it; None until it has succeeded."""
    return None if run.output is None else _OUTCOME.load(run.output)


_MAX_BYTES = 1024 * 1024


class FiringJob:
    """Decides whether an executor acts on some arguments, and does what it does: what a platform runs."""

    def __init__(self, executor: Executor[Any]) -> None:
        self.name = executor.name
        self._executor = executor

    async def execute(self, arg: str, runtime: JobRuntime) -> str:
        """Run the operation on arguments in a JSON text, and return a `FiringOutcome` as one.

        Raises:
            JobFailedError: The condition or the operation failed, or the arguments don't fit any more.
        """
        executor = self._executor
        try:
            args = executor.trigger.read(arg, accepted=True)
        except ValidationError as error:
            raise JobFailedError(
                f"The arguments of executor {self.name!r} don't fit: {describe(error)}.",
                code="BAD_USER_INPUT",
                may_retry=False,
            ) from error
        if not await self._is_met(args):
            JobContext(runtime).log.info("skipped: the condition is not met")
            return _OUTCOME.dump(FiringOutcome(skipped=True))
        outcome = await executor.operation.run(args, runtime)
        try:
            return _OUTCOME.dump(outcome)
        except NotJsonError as error:
            raise JobFailedError(
                f"The outcome of executor {self.name!r} can't be recorded: {error}.",
                code="BAD_JOB_RESULT",
                may_retry=False,
            ) from error

    async def _is_met(self, args: Any) -> bool:
        condition = self._executor.condition
        if condition is None:
            return True
        try:
            answer = condition(args)
            return bool(await answer if inspect.isawaitable(answer) else answer)
        except BaseException as error:
            raise JobFailedError(
                f"The condition of executor {self.name!r} failed.", code="EXECUTOR_CONDITION_FAILED", may_retry=False
            ) from contained(error)


class Firing:
    """The workflow of an executor's firings: not one that users trigger, but all that platforms need of one."""

    concurrency_policy: ConcurrencyPolicy | None = None

    def __init__(self, executor: Executor[Any]) -> None:
        self.executor = executor
        self.name = firing_name(executor.name)
        self.source = executor.source
        self.main_job = FiringJob(executor)

    @property
    def retry_policy(self) -> RetryPolicy | None:
        """That of the operation."""
        return self.executor.operation.retry_policy

    def encode_args(self, args: object) -> str:
        """Refuse: arguments come as JSON text, from what fires.

        Raises:
            InvalidInputError: Always.
        """
        del args
        raise InvalidInputError(f"Executor {self.executor.name!r} is fired with JSON text.")

    def encode_json(self, text: str) -> str:
        """Arguments given as JSON text, once they are checked.

        Raises:
            InvalidInputError: It is not JSON, or doesn't fit.
        """
        check_json(text, max_bytes=_MAX_BYTES)
        try:
            self.executor.trigger.read(text)
        except (ValidationError, NotJsonError) as error:
            raise refused(f"The argument of executor {self.executor.name!r}", error) from None
        return text

    def check_permission(self, user: User, invoker: AuthInvoker | None) -> None:
        """Refuse to fire a disabled executor; whoever else gets this far has proved that they may.

        Raises:
            FailedPreconditionError: It is disabled.
        """
        del user, invoker
        if self.executor.disabled:
            raise FailedPreconditionError(f"Executor {self.executor.name!r} is disabled.")
