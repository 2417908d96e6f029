"""Who may see, resume, cancel and answer a run, and what the holder of a run token may ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import lru_cache
from inspect import isawaitable
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
)
from graphql.validation import ASTValidationRule
from strawberry.schema.schema_converter import GraphQLCoreConverter

from gqlplugin.checks import caller_source, check_function, is_async, shown
from gqlplugin.errors import DefinitionError, ForbiddenError, UnauthenticatedError
from gqlplugin.graphql.errors import FORBIDDEN
from gqlplugin.identity import User, is_executor_user
from gqlplugin.platform.base import Binding
from gqlplugin.runs import ExecutionFilter, WorkflowExecution

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


_KEY = "gqlplugin.grant"
_REFUSAL = "The token of this request is for one workflow run, and opens nothing else."

FOR_READING: Mapping[str, str] = MappingProxyType({_KEY: "read"})
"""The metadata of a root field that a grant opens: the field itself compares the run's ID, by `policy.may_see`."""

FOR_CANCELING: Mapping[str, str] = MappingProxyType({_KEY: "cancel"})
"""The same for one that takes a grant that may cancel; see `policy.may_cancel`."""


def find_refused(
    may_cancel: bool, document: DocumentNode, operation_name: str | None, schema: GraphQLSchema
) -> list[GraphQLError]:
    """The error of an operation that asks for more than a grant allows.

    Args:
        may_cancel: Whether the grant says so.
        document: Need not be valid.
        operation_name: Which of its operations runs; all are looked at when that isn't clear.
        schema: In which the fields say what they are for.
    """
    opened = ("read", "cancel") if may_cancel else ("read",)
    for operation in _operations(document, operation_name):
        root = schema.get_root_type(operation.operation)
        for name in _root_fields(operation.selection_set, document):
            field = root.fields.get(name) if root else None
            if name != "__typename" and (field is None or _opened_by(field.extensions) not in opened):
                return [GraphQLError(_REFUSAL, extensions={"code": FORBIDDEN})]
    return []


@lru_cache(maxsize=64)
def grant_rule(may_cancel: bool, operation_name: str | None) -> type[ASTValidationRule]:
    """A validation rule of the same, for extensions that validate by themselves, or remember what was valid.

    The same class at every call: a new one would defeat caches of validation.
    """

    class GrantRule(ASTValidationRule):
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            for error in find_refused(may_cancel, context.document, operation_name, context.schema):
                context.report_error(error)

    return GrantRule


def _operations(document: DocumentNode, name: str | None) -> list[OperationDefinitionNode]:
    every = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return [node for node in every if node.name and node.name.value == name] or every


def _root_fields(selection_set: SelectionSetNode, document: DocumentNode) -> Iterator[str]:
    """The names of fields, those in fragments included, whatever directives leave out."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    left = list(selection_set.selections)
    while left:
        selection = left.pop()
        if isinstance(selection, FieldNode):
            yield selection.name.value
        elif isinstance(selection, FragmentSpreadNode):
            if fragment := fragments.pop(selection.name.value, None):  # each once: they may spread themselves
                left.extend(fragment.selection_set.selections)
        else:
            left.extend(selection.selection_set.selections)  # type: ignore[attr-defined] # an inline fragment


def _opened_by(extensions: Mapping[str, Any]) -> object:
    definition = extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return None if definition is None else definition.metadata.get(_KEY)
