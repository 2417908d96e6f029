"""Validating a document within bounds: what costs little first, and nothing that costs more than a limit allows."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from math import isinf
from typing import Any, NamedTuple

from graphql import (
    SKIP,
    DocumentNode,
    ExecutableDefinitionsRule,
    FloatValueNode,
    GraphQLError,
    GraphQLFloat,
    GraphQLInputType,
    GraphQLSchema,
    IntValueNode,
    KnownFragmentNamesRule,
    LoneAnonymousOperationRule,
    NoFragmentCyclesRule,
    NoUndefinedVariablesRule,
    NoUnusedFragmentsRule,
    NoUnusedVariablesRule,
    UniqueArgumentNamesRule,
    UniqueFragmentNamesRule,
    UniqueInputFieldNamesRule,
    UniqueOperationNamesRule,
    UniqueVariableNamesRule,
    ValidationRule,
    ValueNode,
    ValuesOfCorrectTypeRule,
    VisitorAction,
    get_named_type,
    validate,
)
from graphql.execution import Executor
from graphql.utilities import validate_input_literal
from graphql.validation import ASTValidationRule
from graphql.validation.validate import ValidationAbortedError
from strawberry.schema.base import BaseSchema
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from gqlplugin.graphql.introspection import VALIDATION_FAILED, hides_schema, without_schema
from gqlplugin.graphql.limits import Limits, find_comparisons, took_too_long

Rules = tuple[type[ASTValidationRule], ...]

MAX_SUGGESTING = 3
"""Most errors of one document, or of its variables, that suggest names: finding similar ones takes milliseconds."""


class FiniteNumbersRule(ValidationRule):
    """Refuses numbers beyond what a float holds, such as 1e400, as the JSON of variables is refused that has them.

    graphql-core reads them as infinite.
    """

    def enter_float_value(self, node: FloatValueNode, *_: Any) -> None:
        """Look at a number with a fraction or an exponent, wherever it is: no scalar can read it as another value."""
        if isinf(float(node.value)):
            self._refuse(node)

    def enter_int_value(self, node: IntValueNode, *_: Any) -> None:
        """Look at an integer, of which other scalars take longer ones."""
        if get_named_type(self.context.get_input_type()) == GraphQLFloat and isinf(float(node.value)):
            self._refuse(node)

    def _refuse(self, node: FloatValueNode | IntValueNode) -> None:
        text = node.value if len(node.value) <= _MAX_SHOWN else f"{node.value[:_MAX_SHOWN]}…"
        self.report_error(GraphQLError(f"The number {text} is too large: no float is beyond 1.8e308.", node))


_MAX_SHOWN = 20
_MAX_ERRORS = 20  # each looks for its line in the whole text


class FewErrorsRule(ValuesOfCorrectTypeRule):
    """Looks no further into a value that has several errors, each of which prints what it is in."""

    def is_valid_value_node(self, node: ValueNode, input_type: GraphQLInputType | None) -> VisitorAction:
        """Look at a value, and at all that is in it."""
        if input_type is not None:
            left = MAX_SUGGESTING + 1

            def report(error: GraphQLError, _: list[str | int]) -> None:
                nonlocal left
                placed = all(one.loc for one in error.nodes or ())  # graphql-core reports on a copy of some literals
                self.report_error(error if placed else GraphQLError(error.message, node, original_error=error))
                left -= 1
                if not left:
                    raise _EnoughError

            with suppress(_EnoughError):
                validate_input_literal(node, input_type, report, hide_suggestions=self.context.hide_suggestions)
        return SKIP


class _EnoughError(Exception):
    """A value has as many errors as are told of it."""


_OF_DOCUMENT = frozenset(
    {
        ExecutableDefinitionsRule,
        KnownFragmentNamesRule,
        LoneAnonymousOperationRule,
        NoFragmentCyclesRule,
        NoUndefinedVariablesRule,
        NoUnusedFragmentsRule,
        NoUnusedVariablesRule,
        UniqueArgumentNamesRule,
        UniqueFragmentNamesRule,
        UniqueInputFieldNamesRule,
        UniqueOperationNamesRule,
        UniqueVariableNamesRule,
    }
)
"""Rules that look at nothing but the document, so that their messages tell nothing of the schema."""

_OF_SCHEMA = (FiniteNumbersRule, MaybeNullValidationRule, OneOfInputValidationRule)
"""Rules besides those of a request; Strawberry adds its own two wherever it validates."""


class _Groups(NamedTuple):
    document: Rules
    schema: Rules
    others: Rules


@lru_cache(maxsize=64)
def _grouped(rules: Rules) -> _Groups:
    """Rules by what they look at; ours, which are for extensions that validate by themselves, are left out."""
    document = tuple(rule for rule in rules if rule in _OF_DOCUMENT)
    of_schema = tuple(
        FewErrorsRule if rule is ValuesOfCorrectTypeRule else rule
        for rule in rules
        if rule.__module__.startswith("graphql.") and rule not in _OF_DOCUMENT
    )
    others = tuple(rule for rule in rules if not rule.__module__.startswith(("graphql.", "gqlplugin.")))
    return _Groups(document, (*of_schema, *_OF_SCHEMA), others)


def find_invalid(
    schema: GraphQLSchema, document: DocumentNode, rules: Rules, limits: Limits, *, hides_schema: bool = False
) -> list[GraphQLError]:
    """What is wrong with a document, as far as the client may know.

    Rules of the document alone come first: what they refuse is not compared with the schema, and what they accept has
    no fragments in a circle. Rules that are neither graphql-core's nor Strawberry's have messages for every client.

    Args:
        schema: What it is for.
        document: Within `limits`, as far as `find_exceeded` goes.
        rules: Those of the request.
        limits: For what comparing fields may cost.
        hides_schema: Whether the client may not learn the schema; it gets one error then.
    """
    groups = _grouped(rules)
    if errors := _validate(schema, document, groups.document):
        return _marked(errors)
    if _OF_DOCUMENT.issubset(groups.document) and (errors := find_comparisons(document, limits)):
        return errors
    rules = (*groups.schema, *groups.others)
    errors = _validate(schema, document, rules)
    if not errors or (len(errors) > MAX_SUGGESTING and not hides_schema):
        return errors
    if not hides_schema:
        return validate(schema, document, rules)
    if groups.others and (own := _validate(schema, document, groups.others)):
        return _marked(own)
    return errors if any(map(_is_marked, errors)) else without_schema(errors, document)


def _validate(schema: GraphQLSchema, document: DocumentNode, rules: Rules) -> list[GraphQLError]:
    errors = validate(schema, document, rules, max_errors=_MAX_ERRORS, hide_suggestions=True)
    aborted = any(isinstance(error, ValidationAbortedError) for error in errors)
    return [took_too_long()] if aborted and len(errors) == 1 else errors


def _is_marked(error: GraphQLError) -> bool:
    return "code" in (error.extensions or {})


def _marked(errors: Iterable[GraphQLError]) -> list[GraphQLError]:
    """Errors that every client may see."""
    for error in errors:
        error.extensions = {"code": VALIDATION_FAILED, **(error.extensions or {})}
    return list(errors)


class _QuickExecutor(Executor[Any]):
    """Suggests names in the errors of variables only to clients that may learn them, and only where there are few."""

    @classmethod
    def build(
        cls,
        schema: GraphQLSchema,
        document: DocumentNode,
        root_value: Any = None,
        context_value: Any = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """An executor, or the errors of the variables."""
        given = (schema, document, root_value, context_value, *args)
        built = super().build(*given, **{**options, "hide_suggestions": True})
        if not isinstance(built, list) or len(built) > MAX_SUGGESTING or hides_schema(context_value):
            return built
        return super().build(*given, **options)


@lru_cache(maxsize=64)
def _quick(executor: type[Executor[Any]]) -> type[Executor[Any]]:
    return type(executor.__name__, (_QuickExecutor, executor), {"__module__": executor.__module__})


def bound_suggestions(schema: BaseSchema) -> None:
    """Have the operations of a schema executed by what takes no long time over the errors of variables."""
    executor = getattr(schema, "execution_context_class", None)
    if executor is not None and not issubclass(executor, _QuickExecutor):
        schema.execution_context_class = _quick(executor)  # type: ignore[attr-defined] # Strawberry's own schema has it
