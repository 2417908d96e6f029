"""What a client is told of an error, and what the operators are."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from inspect import isasyncgen, isawaitable, iscoroutinefunction
from traceback import walk_tb
from types import AsyncGeneratorType, FrameType
from typing import Any
from weakref import WeakSet

from graphql import DocumentNode, GraphQLError, GraphQLSchema, GraphQLSyntaxError, is_object_type
from strawberry.exceptions import MissingQueryError
from strawberry.permission import BasePermission
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from gqlplugin.errors import (
    GqlpluginError,
    InvalidInputError,
    OutcomeUnknownError,
    PlatformNotBoundError,
    PlatformUnavailableError,
    contained,
    is_public,
    log_internal_error,
    plain_text,
)
from gqlplugin.graphql.introspection import VALIDATION_FAILED, without_schema, without_types
from gqlplugin.graphql.limits import BAD_USER_INPUT

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
BAD_REQUEST = "BAD_REQUEST"
UNKNOWN_OPERATION = "OPERATION_RESOLUTION_FAILURE"
FORBIDDEN = "FORBIDDEN"
INTERNAL = "INTERNAL"

REFUSED_REQUESTS = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)
"""What Strawberry raises for a request that names no operation it may run; its views answer these themselves."""

_logger = logging.getLogger("gqlplugin.graphql")


def public_errors(
    errors: Collection[GraphQLError],
    *,
    executed: bool,
    hides_schema: bool = False,
    document: DocumentNode | None = None,
) -> list[GraphQLError]:
    """The errors as a client may see them; every one is logged once.

    Args:
        errors: Those of a result.
        executed: Whether the operation was valid, so that an error without a path is one of its variables.
        hides_schema: Leave out what graphql-core says of the schema.
        document: Which the errors are about, if it could be read.
    """
    public: list[GraphQLError] = []
    telling: list[GraphQLError] = []
    for error in errors:
        if hides_schema and _tells_schema(error):
            telling.append(error)
        else:
            public.extend(_public(error, executed, hides_schema))
    return [*public, *_without_schema(telling, executed, document)] if telling else public


_contained: WeakSet[GraphQLSchema] = WeakSet()


def contain_resolvers(schema: GraphQLSchema) -> None:
    """Let what a resolver, a permission class or a policy raises end its field and no more, once per schema.

    graphql-core lets through what is no `Exception`, such as `SystemExit` or a Rust panic, and runs fields in tasks,
    from which asyncio lets `SystemExit` and `KeyboardInterrupt` end the event loop.
    """
    if schema in _contained:
        return
    for type_ in schema.type_map.values():
        for field in type_.fields.values() if is_object_type(type_) else ():
            if field.resolve is not None and not getattr(field.resolve, "_is_default", False):
                field.resolve = _contains(field.resolve)
            if field.subscribe is not None:
                field.subscribe = _contains(field.subscribe)
    _contained.add(schema)


def _contains(resolve: Callable[..., Any]) -> Callable[..., Any]:
    if iscoroutinefunction(resolve):  # which Strawberry makes of fields
        return lambda source, info, **arguments: _contained_answer(resolve(source, info, **arguments))

    def call_contained(source: Any, info: Any, **arguments: Any) -> Any:
        try:
            result = resolve(source, info, **arguments)
        except Exception:
            raise
        except BaseException as error:
            raise contained(error) from error
        if isasyncgen(result):
            return _contained_stream(result)
        return _contained_answer(result) if isawaitable(result) else result

    return call_contained


async def _contained_answer(answer: Awaitable[Any]) -> Any:
    try:
        result = await answer
    except Exception:
        raise
    except BaseException as error:
        raise contained(error) from error
    return _contained_stream(result) if type(result) is AsyncGeneratorType else result


async def _contained_stream(stream: Any) -> AsyncIterator[Any]:
    try:
        async with aclosing(stream):
            async for one in stream:
                yield one
    except Exception:
        raise
    except BaseException as error:
        raise contained(error) from error


def as_graphql_error(error: Exception) -> GraphQLError:
    """An error that did not come from a field."""
    return error if isinstance(error, GraphQLError) else GraphQLError("", original_error=error)


def internal_error(error: BaseException, where: str) -> dict[str, Any]:
    """Log an unexpected error with its traceback; the extensions that name the entry to the client."""
    return {"code": INTERNAL, "id": log_internal_error(_logger, error, where)}


def extensions_of(error: GqlpluginError) -> dict[str, Any]:
    """What a client finds in `extensions` for an error of ours."""
    return {"code": error.code, "retryable": True} if error.retryable else {"code": error.code}


def _public(error: GraphQLError, executed: bool, hides_schema: bool) -> Iterator[GraphQLError]:
    original = error.original_error
    if original is not None and is_public(original):
        yield from _of_ours(error, original)
    elif error.path is None:
        yield _of_request(error, executed)
    elif original is not None and (refusal := _refusal_in(original)) is not None:
        yield _readable(error, FORBIDDEN, refusal)
    elif isinstance(original, GraphQLError):
        yield _of_field(error, original, hides_schema)
    else:
        yield _internal(error)


def _of_ours(error: GraphQLError, original: GqlpluginError) -> Iterator[GraphQLError]:
    if isinstance(original, (OutcomeUnknownError, PlatformUnavailableError, PlatformNotBoundError)):
        _logger.warning("%s in %s", original.code, _place_of(error), exc_info=original)
    else:
        _logger.debug("%s in %s: %s", original.code, _place_of(error), original)
    extensions = extensions_of(original)
    problems = original.problems if isinstance(original, InvalidInputError) else ()
    if not problems:
        yield _copy(error, original.message, extensions)
    for problem in problems:
        path = [*(error.path or ()), *problem.path]
        yield GraphQLError(plain_text(problem.message), error.nodes, path=path, extensions=extensions)


def _tells_schema(error: GraphQLError) -> bool:
    """Whether graphql-core or Strawberry says that a request does not fit the schema; they collect such errors."""
    original = error.original_error
    return (
        error.path is None
        and not isinstance(error, GraphQLSyntaxError)
        and (original is None or isinstance(original, GraphQLError))
        and "code" not in (error.extensions or {})
        and (_module_of(error) or "graphql.").startswith(("graphql.", "strawberry."))
    )


def _without_schema(
    errors: Sequence[GraphQLError], executed: bool, document: DocumentNode | None
) -> Iterator[GraphQLError]:
    for error in errors:
        _logger.debug("%s in the request: %s", BAD_USER_INPUT if executed else VALIDATION_FAILED, error.message)
    if executed:
        yield from (_copy(error, error.message, {"code": BAD_USER_INPUT}) for error in without_types(errors))
    else:
        yield from without_schema(errors, document)


def _of_request(error: GraphQLError, executed: bool) -> GraphQLError:
    """An error of a request that did not run: the client's own, unless something else broke."""
    original = error.original_error
    if isinstance(original, GraphQLError):  # a variable's
        original = original.original_error
    message = error.message
    if original is not None and not isinstance(original, (GraphQLError, *REFUSED_REQUESTS)):
        message = message.replace(f", but encountered error '{original}'; found", ", found")
        if message == error.message:
            return _internal(error)
    if isinstance(error, GraphQLSyntaxError):
        return _readable(error, PARSE_FAILED)
    if isinstance(original, REFUSED_REQUESTS):
        return _readable(error, UNKNOWN_OPERATION if isinstance(original, CannotGetOperationTypeError) else BAD_REQUEST)
    return _readable(error, BAD_USER_INPUT if executed else VALIDATION_FAILED, message)


def _of_field(error: GraphQLError, original: GraphQLError, hides_schema: bool) -> GraphQLError:
    """A GraphQLError is deliberate, unless graphql-core raised it itself over an argument or over a result."""
    module = _module_of(original)
    if module == "graphql.execution.values":
        return _readable(error, BAD_USER_INPUT, "An argument is not valid." if hides_schema else None)
    if module.startswith("graphql."):
        return _internal(error)
    _logger.debug("Error in %s: %s", _place_of(error), error.message)
    return _copy(error, error.message, error.extensions)


def _refusal_in(original: Exception) -> str | None:
    """The message of the permission class that raised this, if one did."""
    for frame in _frames(original):
        permission = frame.f_locals.get("self")
        if frame.f_code.co_name == "on_unauthorized" and isinstance(permission, BasePermission):
            text = original.message if isinstance(original, GraphQLError) else permission.message
            return text or "You may not do this."
    return None


def _frames(error: BaseException) -> list[FrameType]:
    """Where an exception came from, innermost last."""
    return [frame for frame, _ in walk_tb(error.__traceback__)]


def _module_of(error: BaseException) -> str:
    """The module that raised an exception; an empty text if nothing has."""
    frames = _frames(error)
    return str(frames[-1].f_globals.get("__name__", "")) if frames else ""


def _readable(error: GraphQLError, code: str, message: str | None = None) -> GraphQLError:
    _logger.debug("%s in %s: %s", code, _place_of(error), error.message)
    return _copy(error, message or error.message, {"code": code, **(error.extensions or {})})


def _internal(error: GraphQLError) -> GraphQLError:
    return _copy(error, "Internal error", internal_error(error.original_error or error, _place_of(error)))


def _place_of(error: GraphQLError) -> str:
    return ".".join(str(step) for step in error.path) if error.path else "the request"


def _copy(error: GraphQLError, message: str, extensions: dict[str, Any] | None) -> GraphQLError:
    """The error without the exception behind it, whose text and attributes stay here."""
    text, shown = plain_text(message), _encodable(extensions)
    return GraphQLError(text, error.nodes, error.source, error.positions, error.path, extensions=shown)


def _encodable(value: Any) -> Any:
    """Extensions without text that no answer can hold."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value
