"""The Strawberry extension: binds platform, app and caller, checks limits, and hides internal errors."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakSet

from graphql import DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode, OperationType, parse
from graphql.utilities import get_operation_ast
from strawberry import UNSET, Schema
from strawberry.extensions import SchemaExtension
from strawberry.schema.base import BaseSchema
from strawberry.types import ExecutionContext, ExecutionResult, StreamExecutionResult

from gqlplugin.errors import InvalidInputError, contained
from gqlplugin.graphql.errors import INTERNAL, REFUSED_REQUESTS, as_graphql_error, contain_resolvers, public_errors
from gqlplugin.graphql.idempotency_keys import DIRECTIVE, OperationKeys, find_keys, find_misplaced, has_header
from gqlplugin.graphql.introspection import NoIntrospection, find_introspection, hides_schema, show_defaults
from gqlplugin.graphql.limits import Limits, Measured, check_query_length, check_variables, limit_rule
from gqlplugin.graphql.pages import MAX_PAGE
from gqlplugin.graphql.policy import find_refused, grant_rule
from gqlplugin.graphql.resolver_field import reading
from gqlplugin.graphql.response_limits import Budget, count_values, current_budget, few_of, find_budget
from gqlplugin.graphql.validation import Rules, bound_suggestions, find_invalid
from gqlplugin.identity import RunGrant, User
from gqlplugin.platform.base import Binding, Definitions, Platform, bind, find_binding
from gqlplugin.telemetry import NO_SPAN, Span, operation_span

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def begin_operation(context: ExecutionContext) -> Span:
    """The span of an operation that begins; its document may not have been read yet."""
    return operation_span(_headers_of(context.context))


def describe_operation(span: Span, context: ExecutionContext) -> None:
    """Say which operation it is, as OpenTelemetry's conventions for GraphQL have it.

    The name is no part of the span's name: a client may choose another one every time.
    """
    document = context.graphql_document
    node = document and get_operation_ast(document, context._provided_operation_name)  # noqa: SLF001 - not public
    if not node:
        return
    span.rename(node.operation.value)
    span.note("graphql.operation.type", node.operation.value)
    if node.name is not None:
        span.note("graphql.operation.name", node.name.value)


def fail_operation(span: Span, errors: Collection[GraphQLError]) -> None:
    """Mark the span as failed by the first error that the client sees, of which only the code is told."""
    for error in errors:
        code = (error.extensions or {}).get("code")
        span.fail(code if isinstance(code, str) and _CODE.fullmatch(code) else INTERNAL)
        return


def _headers_of(context: Any) -> Iterable[tuple[bytes, bytes]]:
    """The headers of an operation's request, where it came by ASGI."""
    request = context.get("request") if isinstance(context, dict) else getattr(context, "request", None)
    scope = getattr(request, "scope", None)
    return scope["headers"] if isinstance(scope, dict) and "headers" in scope else ()


CONTEXT_KEY = "gqlplugin"
"""Where our ASGI view puts the `Binding` of a request into Strawberry's context."""

MAX_CACHED_CHARACTERS = 262_144
"""Length of the query texts whose documents are kept: a document takes some 200 bytes per character."""

MAX_VERDICTS = 8
"""Schemas and sets of rules that one document is remembered as valid or not for."""

_start_logger = logging.getLogger("gqlplugin.start")
_warned: WeakSet[BaseSchema] = WeakSet()
"""The schemas whose callers nobody identifies, each of which is logged once."""


class WorkflowExtension(SchemaExtension):
    """Lets the resolvers of a schema start workflows, and keeps its errors and costs within bounds.

    `create_schema` puts it in place. Give it to a schema of your own as a factory, before other extensions:

    ```python
    schema = strawberry.Schema(Query, Mutation, extensions=[lambda: WorkflowExtension(app, platform)])
    ```

    What it can't do for a schema of your own is to silence the logger `strawberry.execution`, which writes every error
    once more.

    Args:
        definitions: The app, for workflows by name and bare names of machine users.
        platform: Where workflows start. Without one, it is the platform of the request (`create_asgi`), else the one
            that is bound by hand (`async with platform:`).
        user: Tells the caller from the context of an operation, for views other than ours. Without it everybody is
            anonymous, which is logged as a warning: say None if that is what you want.
        limits: What an operation may cost.
    """

    def __init__(
        self,
        definitions: Definitions | None = None,
        platform: Platform | None = None,
        *,
        user: Callable[[Any], User] | None = UNSET,
        limits: Limits = Limits(),  # noqa: B008 - immutable
    ) -> None:
        self.definitions = definitions
        self.platform = platform
        self.user = user
        self.limits = limits
        self._grant: RunGrant | None = None
        self._document: _Document | None = None
        self._hides_schema = False
        self._is_valid = False
        self._is_streaming = False
        self._keys: OperationKeys | None = None
        self._budget: Budget | None = None
        self._span = NO_SPAN

    def on_operation(self) -> Iterator[None]:
        """Bind platform, app and caller while the operation runs; then turn its errors into what the client may see."""
        with begin_operation(self.execution_context) as self._span, reading(self.execution_context):
            yield from self._operate()

    def _operate(self) -> Iterator[None]:
        context = self.execution_context
        context.parse_options["max_tokens"] = self.limits.max_tokens
        # on_validate checks the limits before the rules; the rule is for extensions that validate by themselves
        context.validation_rules = (*context.validation_rules, limit_rule(self.limits))
        if hides_schema(context.context):
            self._hides_schema = True
            context.validation_rules = (*context.validation_rules, NoIntrospection)
        binding = self._binding()
        count_values(context.schema)
        self._budget = find_budget(context.context, self.limits.max_response_bytes)
        previous = current_budget.get()
        current_budget.set(self._budget)
        try:
            if binding is None:
                yield
            else:
                if binding.grant is not None:
                    self._close_all_but(binding.grant)
                with bind(binding):
                    yield
        except REFUSED_REQUESTS:
            raise
        except BaseException as error:
            public = self._public([as_graphql_error(contained(error))])
            fail_operation(self._span, public)
            raise public[0] from None
        finally:
            current_budget.set(previous)  # not a reset: a stream may end in another context than it began in
            if self._keys is not None:
                self._keys.leave()
        result = context.result
        if not self._is_streaming and result is not None and result.errors:
            result.errors = public = self._public(result.errors)
            fail_operation(self._span, public)

    def on_parse(self) -> Iterator[None]:
        """Take the document from the cache. What can't be read is left to Strawberry to report."""
        context = self.execution_context
        if context.graphql_document is None and context.query:
            check_query_length(context.query, self.limits)
            self._document = _documents.read(context.query, self.limits.max_tokens)
            context.graphql_document = self._document.node if self._document else None
        yield

    def on_validate(self) -> Iterator[None]:
        """Check the limits, then the rules, or take both from the cache."""
        context = self.execution_context
        node = context.graphql_document
        if self._span is not NO_SPAN:
            describe_operation(self._span, context)
        if node is not None and context.pre_execution_errors is None:
            document = self._document
            if document is None or document.node is not node:  # another extension's
                document = _Document(node)
            schema, rules = context.schema._schema, context.validation_rules  # noqa: SLF001 - not public
            show_defaults(schema)
            contain_resolvers(schema)
            bound_suggestions(context.schema)
            if context.variables:
                check_variables(context.variables, self.limits)
            errors = document.errors_for(
                schema, rules, self.limits, context.variables or {}, hides_schema=self._hides_schema
            )
            if document.is_ambiguous and context._provided_operation_name is None:  # noqa: SLF001 - not public
                errors = [*errors, _which_operation()]
            context.pre_execution_errors = errors = self._refused(node) or list(errors)
            if document.mutates and not errors and (document.may_be_keyed or has_header(context.context)):
                self._enter_keys()
        yield
        self._is_valid = not context.pre_execution_errors

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        """Do for one result of a stream what `on_operation` does for the only result of an operation."""
        self._is_streaming = True
        if isinstance(result, ExecutionResult) and result.errors:
            result.errors = public = self._public(result.errors)
            fail_operation(self._span, public)
        if self._budget is not None:
            self._budget.renew()
        self._span.leave()  # that of a subscription tells of its begin, not of its life
        yield

    def get_results(self) -> dict[str, Any]:
        """What the response's `extensions` say of idempotency keys."""
        return {} if self._keys is None else {"idempotency": self._keys.report()}

    def _enter_keys(self) -> None:
        binding = find_binding()
        user = binding.user if binding is not None else User()
        try:
            keys = find_keys(self.execution_context, user)
        except InvalidInputError as error:
            self.execution_context.pre_execution_errors = [as_graphql_error(error)]
            return
        if keys is not None:
            keys.enter()
            self._keys = keys

    def _close_all_but(self, grant: RunGrant) -> None:
        context = self.execution_context
        name = context._provided_operation_name  # noqa: SLF001 - not public
        context.validation_rules = (*context.validation_rules, grant_rule(grant.may_cancel, name))
        self._grant = grant

    def _refused(self, node: DocumentNode) -> list[GraphQLError]:
        """The error of an operation that the caller's grant does not open, which is told before any other."""
        context = self.execution_context
        if self._grant is None:
            return []
        name, schema = context._provided_operation_name, context.schema._schema  # noqa: SLF001 - not public
        return find_refused(self._grant.may_cancel, node, name, schema)

    def _binding(self) -> Binding | None:
        context = self.execution_context.context
        given = context.get(CONTEXT_KEY) if isinstance(context, dict) else None
        if isinstance(given, Binding):
            return given
        bound = find_binding()
        platform = self.platform or (bound.platform if bound else None)
        if platform is None:
            return None
        definitions = self.definitions or (bound.definitions if bound else None)
        return Binding(platform, definitions, self._user_of(context, bound))

    def _user_of(self, context: object, bound: Binding | None) -> User:
        if self.user is not UNSET and self.user is not None:
            return self.user(context)
        user = User() if bound is None else bound.user
        schema = self.execution_context.schema
        if self.user is UNSET and user.is_anonymous and schema not in _warned:
            _warned.add(schema)
            _start_logger.warning(
                "A schema does not identify its callers: they are anonymous, and whoever has the ID of an anonymous "
                "run can read and cancel it. Write WorkflowExtension(..., user=...), with a function of the context "
                "that returns a User, or user=None if that is what you want."
            )
        return user

    def _public(self, errors: Collection[GraphQLError]) -> list[GraphQLError]:
        document = self.execution_context.graphql_document if self._hides_schema else None
        return public_errors(
            few_of(errors), executed=self._is_valid, hides_schema=self._hides_schema, document=document
        )


def limits_of(schema: Schema) -> Limits:
    """The limits of the operations of a schema that has our extension; the defaults without one."""
    return next((one.limits for one in schema.get_extensions() if isinstance(one, WorkflowExtension)), Limits())


class _Document:
    """A document that was read, and what it was found to violate."""

    def __init__(self, node: DocumentNode) -> None:
        self.node = node
        operations = [one for one in node.definitions if isinstance(one, OperationDefinitionNode)]
        self.is_ambiguous = len(operations) > 1
        self.mutates = any(one.operation is OperationType.MUTATION for one in operations)
        self.may_be_keyed = node.loc is None or DIRECTIVE in node.loc.source.body
        self._verdicts: dict[tuple[GraphQLSchema, Rules, Limits, bool], _Verdict] = {}

    def errors_for(
        self,
        schema: GraphQLSchema,
        rules: Rules,
        limits: Limits,
        variables: Mapping[str, object],
        *,
        hides_schema: bool,
    ) -> list[GraphQLError]:
        """What is wrong with it; a document beyond the limits is not validated at all."""
        key = (schema, rules, limits, hides_schema)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._judge(schema, rules, limits, hides_schema=hides_schema)
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[key] = verdict
        if verdict.page_variables and not verdict.errors and verdict.depends_on(variables):
            return Measured(self.node, schema).exceeded(limits, variables)
        return verdict.errors

    def _judge(self, schema: GraphQLSchema, rules: Rules, limits: Limits, *, hides_schema: bool) -> _Verdict:
        measured = Measured(self.node, schema)
        errors = measured.exceeded(limits, {})
        may_exceed = bool(measured.page_variables and measured.exceeded(limits, None))
        if hides_schema and not errors:  # also where an extension has taken all rules away
            errors = find_introspection(self.node, schema)
        if rules and not errors:
            errors = find_invalid(schema, self.node, rules, limits, hides_schema=hides_schema)
        if self.may_be_keyed and not errors:
            errors = find_misplaced(self.node, schema)
        return _Verdict(errors, frozenset(measured.page_variables), may_exceed)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a document was found to violate, whatever its variables are.

    Attributes:
        errors: The violations.
        page_variables: The variables that say how long a list may be.
        may_exceed: Whether the longest pages of our own lists would exceed a limit.
    """

    errors: list[GraphQLError]
    page_variables: frozenset[str]
    may_exceed: bool

    def depends_on(self, variables: Mapping[str, object]) -> bool:
        """Whether these variables could exceed a limit."""
        return self.may_exceed or any(_is_above(variables.get(name), MAX_PAGE) for name in self.page_variables)


def _is_above(value: object, limit: int) -> bool:
    return isinstance(value, int) and value > limit


def _which_operation() -> GraphQLError:
    """GraphQL specification, section 6.1; Strawberry would run the first one."""
    return GraphQLError(
        "The document has several operations: say which one to run, with `operationName`.",
        extensions={"code": "OPERATION_RESOLUTION_FAILURE"},
    )


class _DocumentCache:
    """The documents that were used last, bounded by the length of their texts."""

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters
        self._characters = 0
        self._documents: OrderedDict[tuple[str, int], _Document] = OrderedDict()
        self._lock = Lock()

    def read(self, query: str, max_tokens: int) -> _Document | None:
        """The document of a text; None when it is not one."""
        key = (query, max_tokens)
        with self._lock:
            document = self._documents.get(key)
            if document is not None:
                self._documents.move_to_end(key)
                return document
        try:
            document = _Document(parse(query, max_tokens=max_tokens))
        except GraphQLError:
            return None
        if len(query) <= self._max_characters // 16:
            self._add(key, document)
        return document

    def _add(self, key: tuple[str, int], document: _Document) -> None:
        with self._lock:
            if key not in self._documents:
                self._documents[key] = document
                self._characters += len(key[0])
            while self._characters > self._max_characters:
                (query, _), _ = self._documents.popitem(last=False)
                self._characters -= len(query)


_documents = _DocumentCache(MAX_CACHED_CHARACTERS)
