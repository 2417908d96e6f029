"""What an endpoint says of its schema: outside debug, nothing that the client doesn't know; else all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast
from weakref import WeakSet

from graphql import (
    ConstValueNode,
    DocumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLDefaultInput,
    GraphQLError,
    GraphQLInputField,
    GraphQLSchema,
    ast_from_value,
    is_input_object_type,
    is_interface_type,
    is_object_type,
    validate,
)
from graphql.validation import ASTValidationRule
from strawberry.printer.ast_from_value import ast_from_value as strawberry_ast_from_value

HIDES_SCHEMA_KEY = "gqlplugin.hides_schema"
"""Where our ASGI view says, in Strawberry's context, that clients may not learn the schema."""

INTROSPECTION_DISABLED = "INTROSPECTION_DISABLED"

_SUGGESTION = re.compile(
    r" Did you mean (?:the enum value |to use an inline fragment on )?'\w+'(?:,? (?:or )?'\w+')*\?"
)


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


def without_suggestions(message: str) -> str:
    """A message of graphql-core without the names of the schema that it would suggest."""
    return _SUGGESTION.sub("", message)
