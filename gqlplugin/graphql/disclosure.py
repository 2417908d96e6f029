"""What an endpoint says of its schema: outside debug, nothing that the client doesn't know."""

from __future__ import annotations

import re
from typing import Any

from graphql import DocumentNode, FieldNode, GraphQLError, GraphQLSchema, validate
from graphql.validation import ASTValidationRule

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


def without_suggestions(message: str) -> str:
    """A message of graphql-core without the names of the schema that it would suggest."""
    return _SUGGESTION.sub("", message)
