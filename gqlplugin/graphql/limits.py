"""How much one operation may ask for, checked before anything is validated or run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValidationContext,
)
from graphql.validation import ASTValidationRule

from gqlplugin.checks import check_type
from gqlplugin.source import caller_source

LIMIT_EXCEEDED = "LIMIT_EXCEEDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may cost. A request above a limit is refused, and nothing of it runs.

    Args:
        max_depth: Fields inside fields; what is under `__schema` and `__type` does not count.
        max_aliases: Aliased fields, those in fragments counted at every place that spreads them.
        max_fields: Fields, counted in the same way.
        max_mutations: Fields at the root of a mutation: each may start a workflow.
        max_tokens: Tokens of the query text.
        max_query_characters: Length of the query text; long values belong into variables.
        max_body_bytes: Length of the HTTP body, and of a message on a WebSocket.
        max_subscriptions: Operations that are under way at once on one WebSocket.

    Raises:
        DefinitionError: One is not an int.
    """

    max_depth: int = 12
    max_aliases: int = 50
    max_fields: int = 2_000
    max_mutations: int = 10
    max_tokens: int = 4_000
    max_query_characters: int = 100_000
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
    costs = _Costs({node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)})
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return [error for node in operations for error in _exceeded_by(node, costs.of(node.selection_set), limits)]


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
        self._fragments = fragments
        self._known: dict[str, _Cost] = {}

    def of(self, selection_set: SelectionSetNode | None) -> _Cost:
        """The cost of a selection set."""
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
