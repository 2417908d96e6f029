"""What the holder of a run-scoped token may ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

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

from gqlplugin.graphql.errors import FORBIDDEN

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
