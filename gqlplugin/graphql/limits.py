"""How much a request may cost: what is checked before anything of it is validated or run, and how long an answer is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from math import isfinite
from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValidationContext,
    VariableNode,
    get_named_type,
)
from graphql.validation import ASTValidationRule
from strawberry.schema.schema_converter import GraphQLCoreConverter

from gqlplugin.checks import caller_source, check_type
from gqlplugin.graphql.pages import IS_PAGE, MAX_PAGE

LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
BAD_USER_INPUT = "BAD_USER_INPUT"

_MAX_NESTING = 200  # as graphql-core has it for what is nested in one definition

_MAX_ALIAS_CHARACTERS = 256  # an alias is repeated for every item of a list
_PAGE_ARGUMENTS = ("first", "last")
_MAX_DIGITS = 12  # Python reads no more than some thousands


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may cost. A request above a limit is refused, and nothing of it runs.

    Args:
        max_depth: Fields inside fields; what is under `__schema` and `__type` does not count.
        max_aliases: Aliased fields, those in fragments counted at every place that spreads them.
        max_fields: Fields, counted in the same way. Those below a list count as often as its argument `first` or
            `last` says, so that this is about how many values an answer has. A list without such an argument counts
            once. The default lets a page of 100 runs through with some 90 fields of each.
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
        max_response_bytes: Length of an answer: of the body that answers a request, a batch included, and of each
            message on a WebSocket or event stream. A field that would make it longer is null, with an error.
        max_unread_bytes: Bytes of all answers together that clients have not read yet, per endpoint and process. Above
            it, the connections whose clients have read nothing for longest are closed. A WebSocket may have a quarter
            of it.
        max_stall_seconds: How long a client may read nothing of an answer before its connection is closed.

    Raises:
        DefinitionError: One is not an int.
    """

    max_depth: int = 12
    max_aliases: int = 50
    max_fields: int = 10_000
    max_mutations: int = 10
    max_comparisons: int = 5_000
    max_definitions: int = 200
    max_tokens: int = 2_500
    max_query_characters: int = 100_000
    max_variable_values: int = 20_000
    max_variable_depth: int = 64
    max_body_bytes: int = 2 * 1024 * 1024
    max_subscriptions: int = 100
    max_response_bytes: int = 4 * 1024 * 1024
    max_unread_bytes: int = 128 * 1024 * 1024
    max_stall_seconds: int = 30

    def __post_init__(self) -> None:
        where = f"Limits at {caller_source(3)}"
        for one in fields(self):
            check_type(where, one.name, getattr(self, one.name), int, f"{one.name}={one.default}")


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a selection set asks for, with the fragments it spreads.

    Attributes:
        fields: Fields of the answer: those below a list count once for each of its items.
        selected: Fields of the document.
        roots: Fields that are selected here, not below.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    selected: int = 0
    roots: int = 0


def check_query_length(query: str, limits: Limits) -> None:
    """Refuse a text that would take long to read.

    Raises:
        GraphQLError: It is too long.
    """
    if len(query) > limits.max_query_characters:
        raise _exceeded(f"The query is longer than {limits.max_query_characters} characters: use variables for values.")


def find_exceeded(
    document: DocumentNode,
    limits: Limits,
    schema: GraphQLSchema | None = None,
    variables: Mapping[str, object] | None = None,
) -> list[GraphQLError]:
    """The limits that an operation of the document exceeds.

    Every fragment is measured once, however often it is spread, so that the time is linear in the document's length.

    Args:
        document: A document, which need not be valid.
        limits: The limits.
        schema: Where the default lengths of lists come from.
        variables: The values of variables; one that is missing has its default.
    """
    return Measured(document, schema).exceeded(limits, variables or {})


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
            for error in find_exceeded(context.document, limits, context.schema):
                context.report_error(error)

    return LimitRule


class Measured:
    """Measures the operations of a document.

    Args:
        document: It need not be valid.
        schema: Where the default lengths of lists come from.

    Attributes:
        page_variables: The variables that say how long a list may be; known once `exceeded` was called.
    """

    def __init__(self, document: DocumentNode, schema: GraphQLSchema | None) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        self._definitions = len(document.definitions)
        self._schema = schema
        self.page_variables: set[str] = set()
        self._has_long_alias = self._is_too_deep = False
        self._variables: Mapping[str, object] | None = {}
        self._known: dict[str, _Cost] = {}
        self._nesting = 0

    def exceeded(self, limits: Limits, variables: Mapping[str, object] | None) -> list[GraphQLError]:
        """The limits that an operation exceeds.

        Args:
            limits: The limits.
            variables: Their values; None for the most that our own lists take, for all of them.
        """
        if self._definitions > limits.max_definitions:
            return [
                _exceeded(f"The document has {self._definitions} definitions; the limit is {limits.max_definitions}.")
            ]
        costs: list[_Cost] = []
        for node in self._operations:
            defaults = {one.variable.name.value: _int_of(one.default_value) for one in node.variable_definitions or ()}
            self._variables = None if variables is None else {**defaults, **variables}
            self._known = {}
            root = None if self._schema is None else self._schema.get_root_type(node.operation)
            costs.append(self._of(node.selection_set, root))
        if self._is_too_deep:
            return [_exceeded(f"Selections and fragments are nested more than {_MAX_NESTING} levels deep.")]
        if len(costs) > 1 and (count := sum(cost.selected for cost in costs)) > limits.max_fields:
            # one of them runs, and all are validated
            return [_exceeded(f"The operations have {_size(count)} fields together; the limit is {limits.max_fields}.")]
        errors = [
            error
            for node, cost in zip(self._operations, costs, strict=True)
            for error in _exceeded_by(node, cost, limits)
        ]
        if self._has_long_alias:
            errors.append(_exceeded(f"An alias is longer than {_MAX_ALIAS_CHARACTERS} characters."))
        return errors

    def _of(self, selection_set: SelectionSetNode | None, parent: GraphQLNamedType | None) -> _Cost:
        """The cost of a selection set on a type, which is None where nothing is known of it."""
        if self._nesting > _MAX_NESTING:
            self._is_too_deep = True
            return _Cost()
        self._nesting += 1
        try:
            return self._sum_of(selection_set, parent)
        finally:
            self._nesting -= 1

    def _sum_of(self, selection_set: SelectionSetNode | None, parent: GraphQLNamedType | None) -> _Cost:
        depth = aliases = fields = selected = roots = 0
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                cost = self._of_field(selection, parent)
            elif isinstance(selection, FragmentSpreadNode):
                cost = self._of_fragment(selection.name.value)
            else:
                condition = selection.type_condition  # type: ignore[attr-defined] # an inline fragment
                on = parent if condition is None else self._type(condition.name.value)
                cost = self._of(selection.selection_set, on)  # type: ignore[attr-defined]
            depth = max(depth, cost.depth)
            aliases += cost.aliases
            fields += cost.fields
            selected += cost.selected
            roots += cost.roots
        return _Cost(depth, aliases, fields, selected, roots)

    def _of_field(self, node: FieldNode, parent: GraphQLNamedType | None) -> _Cost:
        alias = node.alias
        self._has_long_alias |= alias is not None and len(alias.value) > _MAX_ALIAS_CHARACTERS
        if node.selection_set is None:
            return _ALIASED_LEAF if alias is not None else _LEAF
        has_fields = isinstance(parent, (GraphQLObjectType, GraphQLInterfaceType))
        definition = parent.fields.get(node.name.value) if has_fields else None  # type: ignore[union-attr]
        inner = self._of(node.selection_set, None if definition is None else get_named_type(definition.type))
        hidden = node.name.value in ("__schema", "__type")
        return _Cost(
            depth=0 if hidden else inner.depth + 1,
            aliases=inner.aliases + (alias is not None),
            fields=1 + inner.fields * self._length(node, definition),
            selected=1 + inner.selected,
            roots=1,
        )

    def _length(self, node: FieldNode, definition: GraphQLField | None) -> int:
        """How many items the list that a field returns may have, as far as its arguments say so."""
        arguments = {} if definition is None else definition.args
        given = {one.name.value: one for one in node.arguments or ()}
        lengths = [
            self._value(given.get(name), arguments.get(name))
            for name in _PAGE_ARGUMENTS
            if name in given or name in arguments
        ]
        return max([1, *(min(one, MAX_PAGE) if _is_our_page(definition) else one for one in lengths)])

    def _value(self, given: ArgumentNode | None, argument: GraphQLArgument | None) -> int:
        value: object = None if given is None else _int_of(given.value)
        if given is not None and isinstance(given.value, VariableNode):
            name = given.value.name.value
            self.page_variables.add(name)
            value = MAX_PAGE if self._variables is None else self._variables.get(name)
        if not isinstance(value, int):
            value = _default_of(argument)
        return value if isinstance(value, int) else 1

    def _type(self, name: str) -> GraphQLNamedType | None:
        return None if self._schema is None else self._schema.get_type(name)

    def _of_fragment(self, name: str) -> _Cost:
        cost = self._known.get(name)
        if cost is None:
            self._known[name] = _Cost()  # a fragment that spreads itself is for validation to refuse
            fragment = self._fragments.get(name)
            if fragment is not None:
                self._known[name] = self._of(fragment.selection_set, self._type(fragment.type_condition.name.value))
            cost = self._known[name]
        return cost


_LEAF = _Cost(depth=1, fields=1, selected=1, roots=1)
_ALIASED_LEAF = _Cost(depth=1, aliases=1, fields=1, selected=1, roots=1)


def _is_our_page(definition: GraphQLField | None) -> bool:
    """Whether a field refuses longer pages itself, and so that the client knows why."""
    made_by = None if definition is None else definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return made_by is not None and made_by.metadata == IS_PAGE


def _int_of(node: object) -> int | None:
    return int(node.value[:_MAX_DIGITS]) if isinstance(node, IntValueNode) else None


def _default_of(argument: GraphQLArgument | None) -> Any:
    if argument is None:
        return None
    default: Any = argument.default
    return argument.default_value if default is None else getattr(default, "value", None)


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
        yield _exceeded(
            f"The operation asks for {_size(cost.fields)} fields, with those below a list counted as often as its "
            f"`first` says; the limit is {limits.max_fields}: ask for fewer fields, or for a shorter page."
        )
    if node.operation is OperationType.MUTATION and cost.roots > limits.max_mutations:
        yield _exceeded(f"The operation has {_size(cost.roots)} mutations; the limit is {limits.max_mutations}.")


def _size(count: int) -> str:
    """A count that may have been multiplied by fragments to any length."""
    return str(count) if count < 1_000_000 else "over a million"


def _exceeded(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": LIMIT_EXCEEDED})
