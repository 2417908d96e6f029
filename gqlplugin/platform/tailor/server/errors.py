"""What a client is told of an error, and what the operators are."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from starlette.responses import JSONResponse

from gqlplugin.errors import (
    FailedPreconditionError,
    ForbiddenError,
    GqlpluginError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformUnavailableError,
    UnauthenticatedError,
    UnsupportedError,
    contained,
    is_public,
    log_internal_error,
)

REQ = TypeVar("REQ")
RES = TypeVar("RES")

_logger = logging.getLogger("gqlplugin.tailor.server")

_CODES: Mapping[type[GqlpluginError], Code] = {
    InvalidInputError: Code.INVALID_ARGUMENT,
    UnauthenticatedError: Code.UNAUTHENTICATED,
    ForbiddenError: Code.PERMISSION_DENIED,
    NotFoundError: Code.NOT_FOUND,
    FailedPreconditionError: Code.FAILED_PRECONDITION,
    IdempotencyKeyReusedError: Code.ALREADY_EXISTS,
    PlatformUnavailableError: Code.UNAVAILABLE,
    OutcomeUnknownError: Code.UNKNOWN,
    UnsupportedError: Code.UNIMPLEMENTED,
}
_CONNECT_CODES = {error.code: code for error, code in _CODES.items()}


class PublicErrors:
    """An interceptor that turns every error of a method into one that a client may see.

    Errors of ours keep their message; any other is logged with its traceback under an ID that the client is told.
    """

    async def intercept_unary(
        self,
        call_next: Callable[[REQ, RequestContext[REQ, RES]], Awaitable[RES]],
        request: REQ,
        ctx: RequestContext[REQ, RES],
    ) -> RES:
        """Call the method."""
        try:
            return await call_next(request, ctx)
        except BaseException as error:
            raise _public(contained(error), ctx.method.name) from error


def error_response(status: int, code: Code, message: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A Connect error outside of a method, where the HTTP status need not be the code's own."""
    return JSONResponse({"code": code.value, "message": message}, status_code=status, headers=headers)


def _public(error: Exception, method: str) -> ConnectError:
    code = _CONNECT_CODES.get(error.code) if is_public(error) else None
    if code is None or not is_public(error):
        return ConnectError(Code.INTERNAL, f"Internal error {log_internal_error(_logger, error, method)}.")
    if isinstance(error, PlatformUnavailableError | OutcomeUnknownError):
        _logger.warning("%s in %s", error.code, method, exc_info=error)
    return ConnectError(code, _message(error))


def _message(error: GqlpluginError) -> str:
    problems: tuple[Any, ...] = error.problems if isinstance(error, InvalidInputError) else ()
    told = [f"{'.'.join(map(str, problem.path))}: {problem.message}" for problem in problems]
    missing = [text for text in told if text not in error.message]  # most messages list them already
    return " ".join([error.message, "; ".join(missing)]).rstrip()
