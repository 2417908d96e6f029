"""How long an answer may get: its bytes are counted while it is made, so that one that is too long is never made.

What a platform returns as text counts when it is resolved, before it is parsed. Every value of the answer counts when
it is completed, whoever's resolver returned it. A value that would make the answer too long is an error of its field,
and counts nothing: what comes after it may still fit.
"""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar
from typing import Any

import strawberry
from graphql import FieldNode, FragmentSpreadNode, GraphQLError, GraphQLLeafType, SelectionSetNode
from pydantic_core import to_json
from strawberry.schema import Schema
from strawberry.schema.name_converter import NameConverter
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from gqlplugin.execution import Allowance, Values
from gqlplugin.graphql.limits import LIMIT_EXCEEDED, Limits

RESPONSE_LIMIT_KEY = "gqlplugin_response_limit"
"""Where our ASGI view puts a `Budget`, or the bytes of each answer, into Strawberry's context."""

_MAX_ERRORS = 20
_FIELD_BYTES = 24  # a key, punctuation, a number: what a value has besides its text
_SHORT = 1_000
_PART_FOR_SHORT = 4  # that long values leave for what comes after them, which may be what must not be null


class Budget:
    """What is left of the bytes of an answer, or of several that are sent as one.

    Args:
        max_bytes: Length of the answer. Parts of it are kept for short values, and for errors.

    Attributes:
        fetched: What may still be read of large values for the answer.
    """

    __slots__ = ("_left", "_max_bytes", "_parsed", "fetched")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.renew()

    def renew(self) -> None:
        """Begin with another answer, of the same operation: a subscription has many."""
        self._left = self._max_bytes - self._max_bytes // 16
        self.fetched = Allowance(self._max_bytes)
        self._parsed = Allowance(self._max_bytes)

    def parse(self, text: str) -> None:
        """Count a text that is about to be parsed for the answer.

        Raises:
            GraphQLError: It would be too much.
        """
        if not self._parsed.take(_bytes_of(text)):
            raise self.exceeded()

    def write(self, value: object) -> None:
        """Count a value of the answer.

        Raises:
            GraphQLError: It would be too much.
        """
        size, kept = _FIELD_BYTES, 0
        if type(value) is str:
            size += len(value) if len(value) < _SHORT else _json_bytes_of(value)
        elif isinstance(value, (dict, list)):
            size += _json_bytes_of(value)
        if size > _SHORT:
            kept = self._max_bytes // _PART_FOR_SHORT
        if size > self._left - kept:
            raise self.exceeded()
        self._left -= size

    def exceeded(self) -> GraphQLError:
        """The error of a value that does not fit."""
        return response_too_long(self._max_bytes)


class CountingExecutor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's, which counts the values of an answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._budget = current_budget.get()

    def complete_leaf_value(self, return_type: GraphQLLeafType, result: Any) -> Any:  # type: ignore[override] # static
        """The value, as it is in the answer."""
        completed = StrawberryGraphQLCoreExecutionContext.complete_leaf_value(return_type, result)
        if self._budget is not None:
            self._budget.write(completed)
        return completed


def count_values(schema: Schema) -> None:
    """Have a schema count the values of its answers, unless it has an execution context class of its own."""
    if schema.execution_context_class is StrawberryGraphQLCoreExecutionContext:
        schema.execution_context_class = CountingExecutor


def find_budget(context: object, max_bytes: int) -> Budget:
    """The budget of an operation: that of its request, if our view serves it.

    Args:
        context: Strawberry's, for resolvers.
        max_bytes: Length of an answer where the view does not say.
    """
    given = context.get(RESPONSE_LIMIT_KEY) if isinstance(context, dict) else None
    if isinstance(given, Budget):
        return given
    return Budget(max_bytes if given is None else given)


def selected_values(info: strawberry.Info) -> Values:
    """What a listing is to read of large values: those that are selected below its field, as far as they fit."""
    raw = info._raw_info  # noqa: SLF001 - not public
    selected: set[str] = set()
    visited: set[str] = set()
    pending: list[SelectionSetNode | None] = [node.selection_set for node in raw.field_nodes]
    while pending:
        selection_set = pending.pop()
        for one in selection_set.selections if selection_set else ():
            if isinstance(one, FragmentSpreadNode):
                if one.name.value not in visited:
                    visited.add(one.name.value)
                    pending.append(raw.fragments[one.name.value].selection_set)
                continue
            if isinstance(one, FieldNode):
                selected.add(one.name.value)
            pending.append(one.selection_set)  # type: ignore[attr-defined] # a field or an inline fragment
    names = frozenset(value for name in selected for value in _VALUES.get(name.replace("_", "").lower(), ()))
    budget = current_budget.get()
    if type(info.schema.config.name_converter) is not NameConverter:  # fields may have any name
        names = _ALL_VALUES
    return Values(names, Allowance(Limits().max_response_bytes) if budget is None else budget.fetched)


def value_of(record: Any, name: str) -> Any:
    """A large value of a run, job or wait.

    Raises:
        GraphQLError: It was not read, as the answer would be too long.
    """
    if name in record.left_out:
        budget = current_budget.get()
        raise response_too_long(Limits().max_response_bytes) if budget is None else budget.exceeded()
    return getattr(record, name)


_VALUES = {
    "input": ("input",),
    "argumentshash": ("input",),
    "output": ("output",),
    "skipped": ("output",),
    "workflowrunid": ("output",),
    "result": ("result",),
    "logs": ("logs",),
    "payload": ("payload",),
    "request": ("payload",),
    "mayresolve": ("input", "output"),  # a policy may look at them
}
"""What our fields are made of, by their names in lower case."""

_ALL_VALUES = frozenset(value for values in _VALUES.values() for value in values)


def response_too_long(max_bytes: int) -> GraphQLError:
    """The error of what makes an answer too long."""
    return GraphQLError(
        f"The answer would be longer than the limit of {max_bytes} bytes: ask for fewer fields, or for a shorter page.",
        extensions={"code": LIMIT_EXCEEDED},
    )


def few_of(errors: Collection[GraphQLError]) -> Collection[GraphQLError]:
    """The errors, with no more than some of the values that did not fit: there may be one for each field."""
    if len(errors) <= _MAX_ERRORS:
        return errors
    kept, count = [], 0
    for error in errors:
        count += (error.extensions or {}).get("code") == LIMIT_EXCEEDED
        if count <= _MAX_ERRORS or (error.extensions or {}).get("code") != LIMIT_EXCEEDED:
            kept.append(error)
    return kept


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _json_bytes_of(value: object) -> int:
    return len(to_json(value, inf_nan_mode="null", fallback=str))


current_budget: ContextVar[Budget | None] = ContextVar("gqlplugin_budget", default=None)
"""The budget of the operation that is running in this context, if any."""


def parse_for_answer(text: str) -> str:
    """Count a text that is about to be parsed for an answer, and return it.

    Raises:
        GraphQLError: It would be too much.
    """
    budget = current_budget.get()
    if budget is not None:
        budget.parse(text)
    return text
