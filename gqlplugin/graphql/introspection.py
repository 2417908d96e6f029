"""Hides the schema outside debug: blocks introspection, and removes hints from error messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast
from weakref import WeakSet

from graphql import (
    ConstValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLDefaultInput,
    GraphQLError,
    GraphQLInputField,
    GraphQLSchema,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    VariableDefinitionNode,
    ast_from_value,
    is_input_object_type,
    is_interface_type,
    is_object_type,
    validate,
)
from graphql.language.ast import QUERY_DOCUMENT_KEYS
from graphql.validation import ASTValidationRule
from strawberry.printer.ast_from_value import ast_from_value as strawberry_ast_from_value
from typing_extensions import TypeIs

HIDES_SCHEMA_KEY = "gqlplugin.hides_schema"
"""Where our ASGI view says, in Strawberry's context, that clients may not learn the schema."""

INTROSPECTION_DISABLED = "INTROSPECTION_DISABLED"

VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"


def hides_schema(context: object) -> bool:
    """Whether an operation with this context may not learn the schema."""
    return isinstance(context, dict) and HIDES_SCHEMA_KEY in context


class NoIntrospection(ASTValidationRule):
    """Refuses `__schema` and `__type`; `__typename` is for clients, which tell types apart by it."""

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        """Look at one field."""
        name = node.name.value
        if name in ("__schema", "__type"):
            self.report_error(
                GraphQLError(
                    f"This endpoint does not tell its schema: leave out {name!r}.",
                    node,
                    extensions={"code": INTROSPECTION_DISABLED},
                )
            )


def find_introspection(document: DocumentNode, schema: GraphQLSchema) -> list[GraphQLError]:
    """Where a document asks for the schema."""
    return validate(schema, document, [NoIntrospection])


_with_shown_defaults: WeakSet[GraphQLSchema] = WeakSet()


def show_defaults(schema: GraphQLSchema) -> None:
    """Let introspection say the defaults that hold free-form JSON objects, once per schema.

    graphql-core has no literal for a `dict`, so that introspection as a whole would fail. Strawberry has one, which it
    prints; it is given to graphql-core as the literal that the default was written as.
    """
    if schema in _with_shown_defaults:
        return
    for one in _inputs_of(schema):
        if one.default is None:
            try:
                ast_from_value(one.default_value, one.type)
            except TypeError:
                literal = strawberry_ast_from_value(one.default_value, one.type)
                one.default = GraphQLDefaultInput(literal=cast(ConstValueNode, literal))
    _with_shown_defaults.add(schema)


def _inputs_of(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    for type_ in schema.type_map.values():
        if is_input_object_type(type_):
            yield from type_.fields.values()
        elif is_object_type(type_) or is_interface_type(type_):
            for field in type_.fields.values():
                yield from field.args.values()


def without_schema(errors: Sequence[GraphQLError], document: DocumentNode | None) -> list[GraphQLError]:
    """One error for all that a document does not fit the schema in: what of it is meant, and where that is.

    It is the first in the text, but variables come last, and names what the client wrote: a field, a fragment and so
    on. Whether the schema lacks it, or has it with other arguments, values, types or subfields, is the same error in
    the same place. Were there more of them, a client could try many names at once, and learn those that none is about.
    """
    words = _words(document) if document is not None else {}
    found = [word for error in errors if (word := words.get(id((error.nodes or (None,))[0]))) is not None]
    word = min(found, key=lambda node: (_is_variable(node), node.loc.start if node.loc else 0), default=None)
    return [GraphQLError(f"{_described(word)}.", word, extensions={"code": VALIDATION_FAILED})]


def without_types(errors: Sequence[GraphQLError]) -> list[GraphQLError]:
    """One error for each variable whose value does not fit its type, and nothing of what the type has or lacks."""
    nodes = {node.variable.name.value: node for error in errors for node in error.nodes or () if _is_variable(node)}
    return [
        GraphQLError(f"The value of the variable '${name}' is not valid.", node) for name, node in nodes.items()
    ] or [GraphQLError("The value of a variable is not valid.")]


def _is_variable(node: Node) -> TypeIs[VariableDefinitionNode]:
    return isinstance(node, VariableDefinitionNode)


_WORDS = (
    OperationDefinitionNode,
    FragmentDefinitionNode,
    VariableDefinitionNode,
    FieldNode,
    DirectiveNode,
    FragmentSpreadNode,
    InlineFragmentNode,
)


def _words(document: DocumentNode) -> dict[int, Node]:
    """The field, fragment and so on that each node of a document belongs to, which is itself for one of these."""
    words: dict[int, Node] = {}
    waiting: list[tuple[Node, Node]] = [(one, one) for one in document.definitions]
    while waiting:
        node, word = waiting.pop()
        words[id(node)] = word = node if isinstance(node, _WORDS) else word
        for key in QUERY_DOCUMENT_KEYS.get(node.kind, ()):
            child = getattr(node, key, None) or ()
            waiting.extend((one, word) for one in ([child] if isinstance(child, Node) else child))
    return words


def _described(node: Node | None) -> str:
    match node:
        case FieldNode():
            name = repr(node.name.value)
            return f"The field {name} is not valid here: its name, its arguments, or what is selected of it"
        case VariableDefinitionNode():
            return f"The variable '${node.variable.name.value}' is not valid: its type, or where it is used"
        case FragmentSpreadNode() | FragmentDefinitionNode() | InlineFragmentNode():
            name = "" if isinstance(node, InlineFragmentNode) else f" {node.name.value!r}"
            return f"The fragment{name} is not valid here"
        case DirectiveNode():
            return f"The directive {node.name.value!r} is not valid here"
        case OperationDefinitionNode():
            return f"The {node.operation.value} is not valid"
    return "The document is not valid"
