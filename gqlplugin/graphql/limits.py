"""How much one operation may ask for, checked before anything is validated or run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from math import isfinite

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValidationContext,
)
from graphql.validation import ASTValidationRule

from gqlplugin.checks import check_type
from gqlplugin.source import caller_source

LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
BAD_USER_INPUT = "BAD_USER_INPUT"

_MAX_NESTING = 200  # as graphql-core has it for what is nested in one definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may cost. A request above a limit is refused, and nothing of it runs.

    Args:
        max_depth: Fields inside fields; what is under `__schema` and `__type` does not count.
        max_aliases: Aliased fields, those in fragments counted at every place that spreads them.
        max_fields: Fields, counted in the same way.
        max_mutations: Fields at the root of a mutation: each may start a workflow.
        max_comparisons: Pairs of fields with one name in one place, fragments counted at every place that spreads them:
            validation compares each with each, such as 4,950 pairs for a field that is there a hundred times.
        max_definitions: Operations and fragments in one document.
        max_tokens: Tokens of the query text.
        max_query_characters: Length of the query text; long values belong into variables.
        max_variable_values: Values in the variables of one operation, each item and each field counted.
        max_variable_depth: Lists and objects inside of each other in a variable.
        max_body_bytes: Length of the HTTP body, and of a message on a WebSocket.
        max_subscriptions: Operations that are under way at once on one WebSocket.

    Raises:
        DefinitionError: One is not an int.
    """

    max_depth: int = 12
    max_aliases: int = 50
    max_fields: int = 2_000
    max_mutations: int = 10
    max_comparisons: int = 5_000
    max_definitions: int = 200
    max_tokens: int = 2_500
    max_query_characters: int = 100_000
    max_variable_values: int = 20_000
    max_variable_depth: int = 64
    max_body_bytes: int = 2 * 1024 * 1024
    max_subscriptions: int = 100

    def __post_init__(self) -> None:
        where = f"Limits at {caller_source(3)}"
        for one in fields(self):
            check_type(where, one.name, getattr(self, one.name), int, f"{one.name}={one.default}")


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a selection set asks for, with the fragments it spreads."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    roots: int = 0


def check_query_length(query: str, limits: Limits) -> None:
    """Refuse a text that would take long to read.

    Raises:
        GraphQLError: It is too long.
    """
    if len(query) > limits.max_query_characters:
        raise _exceeded(f"The query is longer than {limits.max_query_characters} characters: use variables for values.")


def find_exceeded(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """The limits that an operation of the document exceeds.

    Every fragment is measured once, however often it is spread, so that the time is linear in the document's length.
    """
    if (count := len(document.definitions)) > limits.max_definitions:
        return [_exceeded(f"The document has {count} definitions; the limit is {limits.max_definitions}.")]
    costs = _Costs({node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)})
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    found = [(node, costs.of(node.selection_set)) for node in operations]
    if costs.are_too_deep:
        return [_exceeded(f"Selections and fragments are nested more than {_MAX_NESTING} levels deep.")]
    if len(operations) > 1 and (count := sum(cost.fields for _, cost in found)) > limits.max_fields:
        # one of them runs, and all are validated
        return [_exceeded(f"The operations have {_size(count)} fields together; the limit is {limits.max_fields}.")]
    return [error for node, cost in found for error in _exceeded_by(node, cost, limits)]


def find_comparisons(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """The error of a document that has too many fields of the same name in the same place.

    Validation compares all pairs of them, and of what is selected of them. Time and space are linear in the number of
    fields, which `find_exceeded` has checked.

    Args:
        document: Without fragments in a circle, and without any that are not used.
        limits: What it may cost.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    left = limits.max_comparisons
    waiting = [[node.selection_set] for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    while waiting:
        for nodes in _by_response_name(waiting.pop(), fragments):
            left -= len(nodes) * (len(nodes) - 1) // 2
            if left < 0:
                return [
                    _exceeded(
                        f"Too many fields are selected more than once in one place: {limits.max_comparisons} pairs of "
                        "them are the limit."
                    )
                ]
            if inner := [node.selection_set for node in nodes if node.selection_set]:
                waiting.append(inner)
    return []


def check_variables(variables: Mapping[str, object], limits: Limits) -> None:
    """Refuse variables that would take long to read, and numbers that JSON lacks: 1e400 is read as infinite.

    Raises:
        GraphQLError: One has too many values, is too deep, or has such a number.
    """
    left = limits.max_variable_values
    for name, value in variables.items():
        left -= 1
        depth, level = 0, _containers_in(name, (value,))
        while level and left >= 0:
            depth += 1
            if depth > limits.max_variable_depth:
                raise _exceeded(f"The variable '${name}' is nested deeper than {limits.max_variable_depth} levels.")
            left -= sum(map(len, level))
            if left >= 0:
                items = (item for one in level for item in (one if isinstance(one, list) else one.values()))
                level = _containers_in(name, items)
        if left < 0:
            raise _exceeded(f"The variables up to '${name}' have more than {limits.max_variable_values} values.")


def _containers_in(name: str, items: Iterable[object]) -> list[list[object] | dict[str, object]]:
    containers: list[list[object] | dict[str, object]] = []
    for item in items:
        if isinstance(item, (list, dict)):
            containers.append(item)
        elif isinstance(item, float) and not isfinite(item):
            message = f"The variable '${name}' has a number that is too large: no float is beyond 1.8e308."
            raise GraphQLError(message, extensions={"code": BAD_USER_INPUT})
    return containers


def took_too_long() -> GraphQLError:
    """The error of a document whose validation graphql-core has given up, by bounds of its own."""
    return _exceeded("The document takes too long to validate.")


@lru_cache(maxsize=64)
def limit_rule(limits: Limits) -> type[ASTValidationRule]:
    """A validation rule for limits, the same class at every call: a new one would defeat caches of validation."""

    class LimitRule(ASTValidationRule):
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            for error in find_exceeded(context.document, limits):
                context.report_error(error)

    return LimitRule


class _Costs:
    """Measures selection sets, and remembers fragments."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self.are_too_deep = False
        self._fragments = fragments
        self._known: dict[str, _Cost] = {}
        self._nesting = 0

    def of(self, selection_set: SelectionSetNode | None) -> _Cost:
        """The cost of a selection set."""
        if self._nesting > _MAX_NESTING:
            self.are_too_deep = True
            return _Cost()
        self._nesting += 1
        try:
            return self._sum_of(selection_set)
        finally:
            self._nesting -= 1

    def _sum_of(self, selection_set: SelectionSetNode | None) -> _Cost:
        depth = aliases = fields = roots = 0
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                inner = self.of(selection.selection_set)
                hidden = selection.name.value in ("__schema", "__type")
                inner_depth, inner_roots = (0 if hidden else inner.depth + 1), 1
                aliases += selection.alias is not None
                fields += 1
            else:
                inner = (
                    self._of_fragment(selection.name.value)
                    if isinstance(selection, FragmentSpreadNode)
                    else self.of(selection.selection_set)  # type: ignore[attr-defined] # an inline fragment
                )
                inner_depth, inner_roots = inner.depth, inner.roots
            depth = max(depth, inner_depth)
            aliases += inner.aliases
            fields += inner.fields
            roots += inner_roots
        return _Cost(depth, aliases, fields, roots)

    def _of_fragment(self, name: str) -> _Cost:
        cost = self._known.get(name)
        if cost is None:
            self._known[name] = _Cost()  # a fragment that spreads itself is for validation to refuse
            fragment = self._fragments.get(name)
            cost = self._known[name] = self.of(fragment.selection_set if fragment else None)
        return cost


def _by_response_name(
    selection_sets: list[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterable[list[FieldNode]]:
    """The fields that selection sets of the same place hold, by the name in the response."""
    found: dict[str, list[FieldNode]] = {}
    spread: set[str] = set()
    while selection_sets:
        for selection in selection_sets.pop().selections:
            if isinstance(selection, FieldNode):
                found.setdefault((selection.alias or selection.name).value, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                selection_sets.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
                spread.add(selection.name.value)
                selection_sets.append(fragments[selection.name.value].selection_set)
    return found.values()


def _exceeded_by(node: OperationDefinitionNode, cost: _Cost, limits: Limits) -> Iterator[GraphQLError]:
    if cost.depth > limits.max_depth:
        yield _exceeded(f"The operation is {_size(cost.depth)} levels deep; the limit is {limits.max_depth}.")
    if cost.aliases > limits.max_aliases:
        yield _exceeded(f"The operation has {_size(cost.aliases)} aliases; the limit is {limits.max_aliases}.")
    if cost.fields > limits.max_fields:
        yield _exceeded(f"The operation has {_size(cost.fields)} fields; the limit is {limits.max_fields}.")
    if node.operation is OperationType.MUTATION and cost.roots > limits.max_mutations:
        yield _exceeded(f"The operation has {_size(cost.roots)} mutations; the limit is {limits.max_mutations}.")


def _size(count: int) -> str:
    """A count that may have been multiplied by fragments to any length."""
    return str(count) if count < 1_000_000 else "over a million"


def _exceeded(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": LIMIT_EXCEEDED})
