"""The server as an ASGI app: authentication, errors and routes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
from gqlplugin.oauth import TokenEndpoint
from gqlplugin.platform.base import Definitions, Platform
from gqlplugin.platform.health import health_routes
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.proto.operator_connect import OperatorServiceASGIApplication
from gqlplugin.platform.tailor.server.methods import Service
from gqlplugin.platform.tailor.server.served import (
    MachineUserTokens,
    OperatorToken,
    PageTokens,
    Served,
    WorkspaceCheck,
    Writes,
    is_uuid,
)
from gqlplugin.platform.tailor.server.serving import PublicUrl, current_scope
from gqlplugin.platform.tailor.transport import EXTENSIONS_HEADER
from gqlplugin.telemetry import within_request

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


_SERVICE = pb.DESCRIPTOR.services_by_name["OperatorService"]
SERVICE_PATH = f"/{_SERVICE.full_name}/"
_METHODS = frozenset(method.name for method in _SERVICE.methods)
_OWN_METHODS = frozenset(("StartWorkflows", "CancelWorkflowExecution", "ResolveWaitPoint", "ListWaitPoints"))
_CODECS = ("application/json", "application/proto")


class Gate:
    """Lets the operator through to the methods, and answers everybody else itself.

    Its route has the method's name as the path parameter `method`.

    Args:
        app: The methods.
        operator: The token that may call them.
        tokens: Those of machine users, which are known here and may not.
        extensions: Whether there are gqlplugin's own methods and fields, which answers announce.
    """

    def __init__(self, app: ASGIApp, *, operator: OperatorToken, tokens: MachineUserTokens, extensions: bool) -> None:
        self._app = app
        self._operator = operator
        self._tokens = tokens
        self._extensions = extensions
        self._methods = _METHODS if extensions else _METHODS - _OWN_METHODS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _bearer(Headers(scope=scope))
        if not self._operator.matches(token):
            if self._tokens.verify(token) is None:
                await _unauthenticated()(scope, receive, send)
                return
            app: ASGIApp = _forbidden()
        else:
            app = _refusal(scope, self._methods) or self._app
        current_scope.set(scope)
        with within_request(scope["headers"]):
            await app(scope, receive, self._announcing(send) if self._extensions else send)

    @staticmethod
    def _announcing(send: Send) -> Send:
        async def announce(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[EXTENSIONS_HEADER] = "1"
            await send(message)

        return announce


def _bearer(headers: Headers) -> bytes:
    """The token of a request; empty when there is none, or more than one."""
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def _refusal(scope: Scope, methods: Collection[str]) -> JSONResponse | None:
    """The answer to what Connect would answer without a Connect error, or not at all."""
    method = scope["path_params"]["method"]
    if method not in methods:
        message = f"There is no method {method!r}."
        if method not in _OWN_METHODS:
            message = f"This server runs workflows and does not deploy: it has no method {method!r}."
        return error_response(404, Code.UNIMPLEMENTED, message)
    if scope["method"] != "POST":
        return error_response(
            405, Code.UNIMPLEMENTED, f"A method is called by POST, not by {scope['method']}.", headers={"allow": "POST"}
        )
    codec = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if codec not in _CODECS:
        return error_response(
            415,
            Code.UNIMPLEMENTED,
            f"The content type must be {' or '.join(_CODECS)}.",
            headers={"accept-post": ", ".join(_CODECS)},
        )
    try:
        _ = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    except UnicodeDecodeError:
        return error_response(400, Code.INVALID_ARGUMENT, "A header is not UTF-8.")
    return None


def _unauthenticated() -> JSONResponse:
    message = "The operator token is missing or wrong: send it as `authorization: Bearer <token>`."
    return error_response(401, Code.UNAUTHENTICATED, message, headers={"www-authenticate": "Bearer"})


def _forbidden() -> JSONResponse:
    message = "The token of a machine user may not call this: use the operator token."
    return error_response(403, Code.PERMISSION_DENIED, message)


_MAX_MESSAGE_BYTES = 4 * 1024 * 1024


def create_server(
    definitions: Definitions,
    platform: Platform,
    *,
    token: SecretStr | str,
    workspace_id: str | None = None,
    url: str = "",
    trusted_proxies: Iterable[str] = (),
    execute: bool | None = None,
    extensions: bool = True,
    token_lifetime: timedelta = timedelta(hours=1),
) -> Starlette:
    """An ASGI app that serves a platform over the Tailor Platform's contract (TAILOR.md sections 1 to 3).

    ```python
    asgi = create_server(app, EmbeddedPlatform("shop.sqlite"), token=os.environ["OPERATOR_TOKEN"])
    ```

    `run_server` serves it on both of the HTTP versions that clients speak.

    Args:
        definitions: The app whose workflows are served.
        platform: Where they run.
        token: May call every method; at least 16 characters. The secrets of machine users follow from it.
        workspace_id: The only workspace there is, a UUID; any is taken by default.
        url: The base URL under which clients reach this server, to which they also send the secrets of machine users.
            By default the address that a request came to. Behind a proxy, give it, or trust the proxy.
        trusted_proxies: IP addresses and networks of proxies whose `X-Forwarded-Proto` and `X-Forwarded-Host` count;
            "*" trusts all.
        execute: Whether this process runs jobs; else it only starts, shows and resumes. By default it runs them unless
            the platform has workers for that.
        extensions: Whether clients of ours get what the contract has no words for.
        token_lifetime: How long a machine user's token is valid.

    Raises:
        InvalidInputError: The token, the workspace ID, the URL, a proxy or the lifetime is malformed.
    """
    _check(workspace_id)
    operator = OperatorToken(token)
    tokens = MachineUserTokens(operator, definitions.auth, token_lifetime)
    served = Served(
        definitions=definitions,
        platform=platform,
        public_url=PublicUrl(url, trusted_proxies),
        extensions=extensions,
        started_at=datetime.now(UTC),
        page_tokens=PageTokens(operator.derive("page tokens")),
        machine_user_tokens=tokens,
        writes=Writes(),
    )
    methods = OperatorServiceASGIApplication(
        Service(served), interceptors=[PublicErrors(), WorkspaceCheck(workspace_id)], read_max_bytes=_MAX_MESSAGE_BYTES
    )
    gate = Gate(cast(ASGIApp, methods), operator=operator, tokens=tokens, extensions=extensions)
    app = Starlette(
        routes=[
            Route(SERVICE_PATH + "{method:path}", gate),
            Route("/oauth2/token", TokenEndpoint(tokens).handle, methods=["POST"]),
            *health_routes(platform),
        ],
        exception_handlers={HTTPException: _no_route},
        lifespan=partial(_lifespan, served, execute),
    )
    app.router.redirect_slashes = False  # a redirected POST would surprise a client more than a 404
    return app


@asynccontextmanager
async def _lifespan(served: Served, execute: bool | None, _: Starlette) -> AsyncIterator[None]:
    platform = served.platform
    executes = not platform.separate_workers if execute is None else execute
    async with platform, platform.execute(served.definitions) if executes else nullcontext():
        try:
            yield
        finally:
            await served.writes.wait()


def _check(workspace_id: str | None) -> None:
    if workspace_id is not None and not is_uuid(workspace_id):
        raise InvalidInputError(f"workspace_id must be a UUID, not {workspace_id!r}.")


async def _no_route(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    what = "There is nothing at" if status == 404 else f"{request.method} is not for"
    return error_response(status, Code.UNIMPLEMENTED, f"{what} {request.url.path!r}.", headers=headers)
