"""One firing of an executor: a run, with everything that a platform does for one."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import ValidationError

from gqlplugin.codec import JsonCodec, NotJsonError, check_json, describe, refused
from gqlplugin.errors import FailedPreconditionError, InvalidInputError, JobFailedError, contained
from gqlplugin.execution import ConcurrencyPolicy, RetryPolicy
from gqlplugin.executor.definition import Executor
from gqlplugin.executor.operation import FiringOutcome
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.job import JobContext
from gqlplugin.names import firing_name
from gqlplugin.platform.base import JobRuntime

_MAX_BYTES = 1024 * 1024
_OUTCOME: JsonCodec[FiringOutcome] = JsonCodec(FiringOutcome)


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
