"""The span of a GraphQL operation: what it tells, and what it leaves out, which is whatever a client said."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from graphql import GraphQLError
from graphql.utilities import get_operation_ast
from strawberry.types import ExecutionContext

from gqlplugin.graphql.errors import INTERNAL
from gqlplugin.telemetry import Span, operation_span

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
