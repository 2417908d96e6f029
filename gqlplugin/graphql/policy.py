"""Who may see and resume a run."""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable
from typing import Protocol, TypeVar

from gqlplugin.errors import UnauthenticatedError
from gqlplugin.execution import ExecutionFilter, WorkflowExecution
from gqlplugin.identity import User

T = TypeVar("T")


class RunPolicy(Protocol):
    """Decides who may see and resume a run; give one to `create_schema(policy=)`.

    Every method may be an `async def`. To a caller who may not see a run it does not exist.
    """

    def may_see(self, user: User, run: WorkflowExecution) -> bool | Awaitable[bool]:
        """Whether the caller may see the run."""
        ...

    def may_resume(self, user: User, run: WorkflowExecution) -> bool | Awaitable[bool]:
        """Whether the caller, who may see the run, may resume it."""
        ...

    def listing(self, user: User) -> ExecutionFilter | Awaitable[ExecutionFilter]:
        """Which runs the caller may list: the request's own filter is applied on top.

        Raises:
            UnauthenticatedError: Only a known caller may list runs.
        """
        ...


class CallerPolicy:
    """The default: a run belongs to the caller who started it.

    A run that was started anonymously belongs to whoever holds its ID. Listing needs a caller, and shows their own.
    """

    def may_see(self, user: User, run: WorkflowExecution) -> bool:
        """Whether the caller started it, or nobody known did."""
        return run.caller.is_anonymous or (not user.is_anonymous and run.caller.id == user.id)

    def may_resume(self, user: User, run: WorkflowExecution) -> bool:
        """The same as for seeing it."""
        return self.may_see(user, run)

    def listing(self, user: User) -> ExecutionFilter:
        """The caller's own runs.

        Raises:
            UnauthenticatedError: The caller is anonymous.
        """
        if user.is_anonymous:
            raise UnauthenticatedError("Listing runs needs a caller: authenticate first.")
        return ExecutionFilter(caller_id=user.id)


async def decided(answer: T | Awaitable[T]) -> T:
    """What a policy answered, plainly or not."""
    return await answer if isawaitable(answer) else answer
