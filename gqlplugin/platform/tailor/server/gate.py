"""Who may call the methods, checked before anything else of a request is read."""

from __future__ import annotations

from collections.abc import Collection

from connectrpc.code import Code
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.errors import error_response
from gqlplugin.platform.tailor.server.public_url import current_scope
from gqlplugin.platform.tailor.server.tokens import MachineUserTokens, OperatorToken
from gqlplugin.platform.tailor.transport import EXTENSIONS_HEADER
from gqlplugin.telemetry import within_request

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
