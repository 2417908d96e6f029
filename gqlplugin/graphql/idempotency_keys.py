"""Which fields of an operation have an idempotency key, by the header Idempotency-Key or by the directive @idempotent.

The header is that of draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar, Token
from functools import cached_property
from typing import Any

import strawberry
from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDirective,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    VariableNode,
    get_directive_values,
    get_operation_ast,
)
from graphql.execution import get_variable_values
from graphql.execution.values import VariableValues
from strawberry.directive import DirectiveLocation, DirectiveValue
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import ExecutionContext

from gqlplugin.errors import InvalidInputError
from gqlplugin.graphql.introspection import VALIDATION_FAILED
from gqlplugin.idempotency import KeyedField, check_key, check_unguessable, keyed_field, read_header
from gqlplugin.identity import User

DIRECTIVE = "idempotent"
OWN_KEY = "gqlplugin_own_key"
"""In the metadata of a Strawberry field that calls `enter_field`."""

_HEADER = b"idempotency-key"
_CLAIMED = "gqlplugin.idempotency"
"""Where an HTTP request's ASGI scope has the fields that its header was for."""


@strawberry.directive(
    locations=[DirectiveLocation.FIELD],
    name=DIRECTIVE,
    description=(
        "On a field at the root of a mutation: what the field starts is started once, however often it is sent with "
        "the same key, which is the caller's own."
    ),
)
def idempotent(value: DirectiveValue[Any], key: str) -> Any:
    """The directive, for a schema of your own: `strawberry.Schema(..., directives=[idempotent])`."""
    _ = key
    return value


class OperationKeys:
    """The keys of an operation's fields.

    Args:
        fields: By the keys of the response.
        is_whole: Whether the operation has no other field, so that all that it starts is the field's.
    """

    def __init__(self, fields: Mapping[str, KeyedField], *, is_whole: bool) -> None:
        self._fields = fields
        self._is_whole = is_whole
        self._previous: tuple[KeyedField | None, Mapping[str, KeyedField] | None] = (None, None)

    def enter(self) -> None:
        """Let what is started in this context from here on have its keys."""
        self._previous = keyed_field.get(), _by_field.get()
        keyed_field.set(next(iter(self._fields.values())) if self._is_whole else None)
        _by_field.set(None if self._is_whole else self._fields)

    def leave(self) -> None:
        """Undo `enter`."""
        keyed, fields = self._previous  # not a reset: a stream may end in another context than it began in
        keyed_field.set(keyed)
        _by_field.set(fields)

    def report(self) -> list[dict[str, Any]]:
        """What the client is told of each key."""
        return [
            {"path": [one.response_key], "applied": one.is_applied, "replayed": one.is_replayed}
            for one in self._fields.values()
        ]


_by_field: ContextVar[Mapping[str, KeyedField] | None] = ContextVar("gqlplugin_keyed_fields", default=None)


def enter_field(info: strawberry.Info) -> Token[KeyedField | None] | None:
    """Let the body of a root field have its key, where the operation has several fields; a token to leave it by."""
    fields = _by_field.get()
    if fields is None:
        return None
    path = info.path
    return None if path.prev is not None else keyed_field.set(fields.get(str(path.key)))


def leave_field(token: Token[KeyedField | None]) -> None:
    """Undo `enter_field`."""
    keyed_field.reset(token)


def find_misplaced(document: DocumentNode, schema: GraphQLSchema) -> list[GraphQLError]:
    """An error for each directive that is not on a field at the root of a mutation."""
    if _definition(schema) is None:
        return []
    return [
        GraphQLError(
            f"The directive @{DIRECTIVE} is for fields at the root of a mutation, and {node.name.value!r} is none.",
            node,
            extensions={"code": VALIDATION_FAILED},
        )
        for definition in document.definitions
        if isinstance(definition, (OperationDefinitionNode, FragmentDefinitionNode))
        for node in _misplaced(definition.selection_set, is_root=_is_root(definition, schema))
    ]


def _definition(schema: GraphQLSchema) -> GraphQLDirective | None:
    """Our directive in a schema, which may have another one of that name."""
    found = schema.get_directive(DIRECTIVE)
    known = found is not None and found.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF) is idempotent
    return found if known else None


def _is_root(definition: OperationDefinitionNode | FragmentDefinitionNode, schema: GraphQLSchema) -> bool:
    if isinstance(definition, OperationDefinitionNode):
        return definition.operation is OperationType.MUTATION
    return schema.mutation_type is not None and definition.type_condition.name.value == schema.mutation_type.name


def _misplaced(selection_set: SelectionSetNode | None, *, is_root: bool) -> Iterator[FieldNode]:
    for selection in selection_set.selections if selection_set else ():
        if isinstance(selection, FieldNode):
            if _has_directive(selection) and (not is_root or selection.name.value.startswith("__")):
                yield selection
            yield from _misplaced(selection.selection_set, is_root=False)
        elif isinstance(selection, InlineFragmentNode):
            yield from _misplaced(selection.selection_set, is_root=is_root)


def _has_directive(node: FieldNode) -> bool:
    return any(map(_is_ours, node.directives or ()))


def _is_ours(directive: DirectiveNode) -> bool:
    return directive.name.value == DIRECTIVE


def has_header(context: object) -> bool:
    """Whether the request that an operation came by has the header.

    Args:
        context: Strawberry's, for resolvers.
    """
    scope = _http_scope(context)
    return scope is not None and any(name == _HEADER for name, _ in scope["headers"])


def find_keys(context: ExecutionContext, user: User) -> OperationKeys | None:
    """The keys of a valid operation; None when it has none, or is no mutation.

    Args:
        context: Of the operation.
        user: The caller.

    Raises:
        InvalidInputError: A key is malformed, could be guessed, or would be that of two fields.
    """
    scope = _http_scope(context.context)
    headers = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER] if scope else []
    document = context.graphql_document
    node = get_operation_ast(document, context.operation_name) if document else None
    if document is None or node is None or node.operation is not OperationType.MUTATION:
        return None
    header = read_header(headers) if headers else None
    try:
        mutation = _Mutation(context, document, node)
        keys = {name: key for name in mutation.fields if (key := mutation.directive_key(name) or header) is not None}
    except _WrongVariablesError:
        return None
    for key in keys.values():
        check_unguessable(key, user)
    mutation.check_apart(keys)
    if header is not None and scope is not None:
        _claim(scope, [mutation.name_of(one) for one, key in keys.items() if key == header])
    fields = {
        one: KeyedField(key, field=f"{mutation.type_name}.{mutation.name_of(one)}", response_key=one)
        for one, key in keys.items()
    }
    return OperationKeys(fields, is_whole=len(mutation.fields) == 1) if fields else None


def _http_scope(context: object) -> MutableMapping[str, Any] | None:
    """The ASGI scope of an operation's request: a WebSocket's headers are not those of an operation."""
    request = context.get("request") if isinstance(context, dict) else getattr(context, "request", None)
    scope = getattr(request, "scope", None)
    return scope if scope is not None and scope["type"] == "http" else None


def _claim(scope: MutableMapping[str, Any], names: Iterable[str]) -> None:
    """Refuse a batch of operations with the same field, which one header can't tell apart."""
    claimed = scope.setdefault(_CLAIMED, set())
    for name in names:
        if name in claimed:
            raise _same_key(name)
        claimed.add(name)


class _WrongVariablesError(Exception):
    """The variables of an operation don't fit, as its execution will say."""


class _Mutation:
    """The fields at the root of a mutation, without those that are skipped.

    Raises:
        _WrongVariablesError: From a method that needs the variables.
    """

    def __init__(self, context: ExecutionContext, document: DocumentNode, node: OperationDefinitionNode) -> None:
        self._context = context
        self._node = node
        self._schema = context.schema._schema  # noqa: SLF001 - Strawberry has no other way to it
        self._fragments = {
            one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        self.type_name = str(self._schema.mutation_type)
        self.fields: dict[str, list[FieldNode]] = {}
        for field in self._selected(node.selection_set, set()):
            self.fields.setdefault(field.alias.value if field.alias else field.name.value, []).append(field)

    @cached_property
    def _variables(self) -> VariableValues:
        """Only where they are needed: the execution reads them once more, which takes a while."""
        values = get_variable_values(self._schema, self._node.variable_definitions or (), self._context.variables or {})
        if isinstance(values, list):
            raise _WrongVariablesError
        return values

    def name_of(self, response_key: str) -> str:
        """The schema's name of a field."""
        return self.fields[response_key][0].name.value

    def directive_key(self, response_key: str) -> str | None:
        """The key that a field's directive gives it."""
        nodes = [node for node in self.fields[response_key] if _has_directive(node)]
        definition = _definition(self._schema) if nodes else None
        if definition is None:
            return None
        keys = {self._key_of(node, definition) for node in nodes}
        if len(keys) > 1:
            raise InvalidInputError(f"The field {response_key!r} has several idempotency keys: give it one.")
        return check_key(keys.pop(), f"The key of @{DIRECTIVE}")

    def _key_of(self, node: FieldNode, definition: GraphQLDirective) -> str:
        ours = next(one for one in node.directives or () if _is_ours(one))
        value = next(one.value for one in ours.arguments or ())  # a valid document has this one
        if isinstance(value, StringValueNode):
            return value.value
        if isinstance(value, VariableNode):
            given = (self._context.variables or {}).get(value.name.value)
            if isinstance(given, str):
                return given
        values = get_directive_values(definition, node, self._variables)
        return str(values and values["key"])

    def check_apart(self, keys: Mapping[str, str]) -> None:
        """Refuse what would give two fields one key, or a field's key to the starts of another one."""
        if len(self.fields) == 1:
            return
        pairs = Counter((self.name_of(one), key) for one, key in keys.items())
        for (name, _), count in pairs.items():
            if count > 1:
                raise _same_key(name)
        for name in map(self.name_of, keys):
            field = self._context.schema.get_field_for_type(name, self.type_name)
            if field is None or OWN_KEY not in field.metadata:
                raise InvalidInputError(
                    f"An idempotency key can't be kept to {name!r} beside other fields, as create_resolver did not "
                    "make it: send it in an operation of its own."
                )

    def _selected(self, selection_set: SelectionSetNode, visited: set[str]) -> Iterator[FieldNode]:
        for one in selection_set.selections:
            if not self._is_included(one):
                continue
            if isinstance(one, FieldNode):
                if not one.name.value.startswith("__"):
                    yield one
            elif isinstance(one, InlineFragmentNode):
                yield from self._selected(one.selection_set, visited)
            elif isinstance(one, FragmentSpreadNode) and one.name.value not in visited:
                visited.add(one.name.value)
                if fragment := self._fragments.get(one.name.value):
                    yield from self._selected(fragment.selection_set, visited)

    def _is_included(self, node: SelectionNode) -> bool:
        if all(map(_is_ours, node.directives or ())):
            return True
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return not (skip and skip["if"]) and (include is None or bool(include["if"]))


def _same_key(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"One idempotency key for {name!r} twice can't tell the two apart: give each its own by @{DIRECTIVE}(key: …)."
    )
