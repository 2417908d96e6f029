"""Who may see, resume, cancel and answer a run, and who may see the executors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Protocol, TypeVar

from gqlplugin.checks import check_function, is_async, shown
from gqlplugin.errors import DefinitionError, ForbiddenError, UnauthenticatedError
from gqlplugin.execution import ExecutionFilter, WorkflowExecution
from gqlplugin.identity import User, is_executor_user
from gqlplugin.platform.base import Binding
from gqlplugin.source import caller_source

T = TypeVar("T")


class RunPolicy(Protocol):
    """Decides who may do what with a run, and who may operate; give one to `create_schema(policy=)`.

    Every method may be an `async def`. To a caller who may not see a run it does not exist. Who may start one is for
    the workflow to say: `create_workflow(permission=)`.
    """

    def may_see(self, user: User, run: WorkflowExecution) -> bool | Awaitable[bool]:
        """Whether the caller may see the run."""
        ...

    def may_resume(self, user: User, run: WorkflowExecution) -> bool | Awaitable[bool]:
        """Whether the caller, who may see the run, may resume it."""
        ...

    def may_cancel(self, user: User, run: WorkflowExecution) -> bool | Awaitable[bool]:
        """Whether the caller, who may see the run, may cancel it."""
        ...

    def may_resolve(self, user: User, run: WorkflowExecution, wait_point: str) -> bool | Awaitable[bool]:
        """Whether the caller, who may see the run, may answer it where it waits.

        Args:
            user: The caller.
            run: The run.
            wait_point: The name of the wait point.
        """
        ...

    def listing(self, user: User) -> ExecutionFilter | Awaitable[ExecutionFilter]:
        """Which runs the caller may list, be it those that wait: the request's own filter is applied on top.

        Raises:
            UnauthenticatedError: Only a known caller may list runs.
        """
        ...

    def may_operate(self, user: User) -> bool | Awaitable[bool]:
        """Whether the caller may see the executors and their jobs."""
        ...


def _nobody(user: User) -> bool:
    del user
    return False


class CallerPolicy:
    """The default: a run belongs to the caller who started it.

    A run that was started anonymously belongs to whoever holds its ID. Listing needs a caller, and shows their own.
    What an executor did, and the runs it started, belong to nobody who can call. Who owns a run may see, resume and
    cancel it, and not answer it where it waits: an approval is not given by who asks for it.

    ```python
    CallerPolicy(operators=lambda user: (user.attributes or {}).get("role") == "OPERATOR")
    ```

    Args:
        operators: Who may see the executors, and see, list, resume, cancel and answer every run; a plain function.
            Nobody by default.

    Raises:
        DefinitionError: `operators` is not a function, or an async one.
    """

    def __init__(self, *, operators: Callable[[User], bool] = _nobody) -> None:
        check_function(
            f"CallerPolicy at {caller_source()}", "operators", operators, 1, "a function (user) that returns a bool"
        )
        if is_async(operators):
            raise DefinitionError(
                f"CallerPolicy at {caller_source()} has operators={shown(operators)}, which is async: write a plain "
                "function, or a policy of your own."
            )
        self._operators = operators

    def may_see(self, user: User, run: WorkflowExecution) -> bool:
        """Whether the caller started it, or nobody known did, or the caller may operate."""
        is_own = run.caller.id == user.id and not user.is_anonymous and not is_executor_user(user)
        return run.caller.is_anonymous or is_own or self.may_operate(user)

    def may_resume(self, user: User, run: WorkflowExecution) -> bool:
        """The same as for seeing it."""
        return self.may_see(user, run)

    def may_cancel(self, user: User, run: WorkflowExecution) -> bool:
        """The same as for seeing it."""
        return self.may_see(user, run)

    def may_resolve(self, user: User, run: WorkflowExecution, wait_point: str) -> bool:
        """Whether the caller may operate, whoever started the run."""
        del run, wait_point
        return self.may_operate(user)

    def listing(self, user: User) -> ExecutionFilter:
        """The caller's own runs; those of everybody for operators.

        Raises:
            UnauthenticatedError: The caller is anonymous.
            ForbiddenError: The caller has the ID of an executor, whose runs are nobody's.
        """
        if self.may_operate(user):
            return ExecutionFilter()
        if user.is_anonymous:
            raise UnauthenticatedError("Listing runs needs a caller: authenticate first.")
        if is_executor_user(user):
            raise ForbiddenError("A caller with this ID may not list runs.")
        return ExecutionFilter(caller_id=user.id)

    def may_operate(self, user: User) -> bool:
        """Whether the caller is an operator.

        Raises:
            TypeError: What `operators` returns must be awaited.
        """
        answer: object = self._operators(user)
        if isawaitable(answer):  # which is true whatever it would answer
            raise TypeError("CallerPolicy(operators=) takes a plain function: write a policy of your own to await.")
        return bool(answer)


_METHODS = ("may_see", "may_resume", "may_cancel", "may_resolve", "listing", "may_operate")


def check_policy(policy: object) -> None:
    """Refuse what is no policy, such as one that was written before there was so much to decide.

    Raises:
        DefinitionError: It is a class, or lacks methods.
    """
    if isinstance(policy, type):
        raise DefinitionError(
            f"policy= is the class {policy.__qualname__}: pass an object, such as {policy.__name__}()."
        )
    if missing := [name for name in _METHODS if not callable(getattr(policy, name, None))]:
        one = f"{type(policy).__module__}.{type(policy).__qualname__}"
        raise DefinitionError(
            f"policy= is {one}, which has no {', '.join(missing)}: add what is missing, as RunPolicy has it, or "
            "subclass CallerPolicy."
        )


async def may_see(policy: RunPolicy, binding: Binding, run: WorkflowExecution) -> bool:
    """Whether the caller of an operation may see a run: with a grant that run alone, whatever the policy says."""
    if binding.grant is not None:
        return binding.grant.run_id == run.id
    return await decided(policy.may_see(binding.user, run))


async def may_cancel(policy: RunPolicy, binding: Binding, run: WorkflowExecution) -> bool:
    """Whether the caller of an operation, who may see the run, may cancel it."""
    if binding.grant is not None:
        return binding.grant.may_cancel and binding.grant.run_id == run.id
    return await decided(policy.may_cancel(binding.user, run))


async def decided(answer: T | Awaitable[T]) -> T:
    """What a policy answered, plainly or not."""
    return await answer if isawaitable(answer) else answer
