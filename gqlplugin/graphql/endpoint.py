"""The GraphQL endpoint as an ASGI app."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import strawberry
from cross_web import AsyncHTTPRequestAdapter, StarletteRequestAdapter
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.websocket_origin import normalize_origin
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.unset import UnsetType

from gqlplugin.app import App
from gqlplugin.authentication.callers import Authenticate, Authenticated, AuthRequest, Callers, Verifier
from gqlplugin.errors import DefinitionError, GqlpluginError, UnauthenticatedError, contained, is_public
from gqlplugin.graphql.errors import internal_error
from gqlplugin.graphql.extension import CONTEXT_KEY, limits_of
from gqlplugin.graphql.http import (
    JSON,
    RefusedRequestError,
    as_json,
    check_content_type,
    from_query_string,
    internal_answer,
    max_values_in_request,
    media_type_for,
    method_not_allowed,
    protect,
    read_json,
    refusal,
    request_data,
    status_of,
    until_refused,
)
from gqlplugin.graphql.introspection import HIDES_SCHEMA_KEY
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.response_limits import (
    RESPONSE_LIMIT_KEY,
    Budget,
    Sending,
    SlowReaderError,
    count_values,
    response_too_long,
)
from gqlplugin.graphql.subscriptions import CheckedHandler, JsonMessages, ServerStop, close_reason, wants_stream
from gqlplugin.identity import User
from gqlplugin.platform.base import Binding, Platform

_NULL = "null"


def checked_origins(allowed: Sequence[str]) -> frozenset[str]:
    """Origins as browsers send them.

    Raises:
        DefinitionError: Some are not of this form, or stand for several.
    """
    if isinstance(allowed, str):
        raise DefinitionError(f"allowed_origins= takes a list of origins: write [{allowed!r}].")
    if problems := [f"allowed_origins= has {one!r}: {_advice(one)}" for one in allowed if not _is_origin(one)]:
        raise DefinitionError(problems)
    return frozenset(allowed)


def is_allowed(origin: str, allowed: frozenset[str]) -> bool:
    """Whether pages of an origin may use the endpoint; `null`, which any page can make itself, only when listed."""
    return (normalize_origin(origin) or origin) in allowed


def cors(allowed: frozenset[str], *, debug: bool) -> list[Middleware]:
    """What lets pages of other origins send requests, with cookies; nothing when there are none."""
    if not allowed:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=["GET", "POST"] if debug else ["POST"],
            allow_headers=["authorization", "content-type", "idempotency-key"],
            allow_credentials=True,
        )
    ]


def _is_origin(given: str) -> bool:
    return given == _NULL or (_scheme_of(given) in ("http", "https") and _normal(given) == given)


def _advice(given: str) -> str:
    normal = _normal(given)
    if "*" in given or normal is None or _scheme_of(given) not in ("http", "https"):
        return "write each origin by itself, such as 'https://shop.example'"
    return f"write {normal!r}"


def _normal(given: str) -> str | None:
    """The origin of a URL, with names in ASCII, as browsers send it."""
    normal = normalize_origin(given)
    if normal is None or "*" in normal:
        return None
    scheme, _, host = normal.partition("://")
    try:
        return f"{scheme}://{host.encode('idna').decode()}"
    except UnicodeError:
        return None


def _scheme_of(given: str) -> str:
    return given.partition("://")[0].strip().lower()


_KEY = "gqlplugin.expiry"


@asynccontextmanager
async def may_expire(websocket: WebSocket) -> AsyncIterator[None]:
    """Serve a WebSocket, at most for as long as `expire_at` says within.

    Raises:
        UnauthenticatedError: The time is over.
    """
    try:
        async with asyncio.timeout(None) as deadline:
            websocket.scope[_KEY] = deadline
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        raise UnauthenticatedError from None


def expire_at(scope: Scope, moment: datetime | None) -> None:
    """Say when the token of a request or WebSocket expires, once its caller is known."""
    if moment is None:
        return
    if scope["type"] == "websocket":
        scope[_KEY].reschedule(asyncio.get_running_loop().time() + _seconds_until(moment))
    else:
        scope[_KEY] = moment


async def send_response(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response. A stream ends when the caller's token expires, without a word: the client asks anew."""
    expires_at = scope.get(_KEY)
    if expires_at is None or not isinstance(response, StreamingResponse):
        await response(scope, receive, send)
        return
    try:
        async with asyncio.timeout(_seconds_until(expires_at)) as deadline:
            await response(scope, receive, send)
    except TimeoutError:
        if not deadline.expired():
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()


_start_logger = logging.getLogger("gqlplugin.start")

_MAX_LENGTH_DIGITS = 18  # Python reads no more than some thousands

_CONNECTION_INIT_TIMEOUT = timedelta(seconds=10)
_ANONYMOUS = Authenticated(User())


class GraphQLApp(GraphQL[dict[str, Any], None]):
    """The GraphQL endpoint, as an ASGI app for a `Route` and a `WebSocketRoute`.

    Subscriptions are served by `graphql-transport-ws` and, by POST, as server-sent events; see `docs/live-updates.md`.

    It answers as "GraphQL over HTTP" has it: `application/graphql-response+json` with a fitting status for clients that
    accept it, else `application/json` with 200 for whatever is a GraphQL request. Anything that is not one is answered
    with 4xx and the same JSON body of errors.

    Args:
        schema: One that has a `WorkflowExtension`, such as from `create_schema`.
        app: What resolvers find workflows and machine users in.
        platform: Where they start workflows.
        authenticate: Tells the caller. For a WebSocket it is asked when `connection_init` comes. Without it everybody
            is anonymous, which is logged as a warning, unless it is None.
        verifiers: Know the tokens that the app issues itself.
        debug: Serve GraphiQL, queries by GET, and introspection.
        introspection: Tell clients the schema, and name it in errors; as `debug` unless you say so.
        max_body_bytes: Longest body that is read.
        max_subscriptions: Operations that are under way at once on one WebSocket.
        max_response_bytes: Length of an answer, and of each message on a stream.
        max_unread_bytes: Bytes of all answers together that clients have not read.
        max_stall_seconds: How long a client may read nothing of an answer.
        allowed_origins: Origins of web pages that may open a WebSocket, besides the endpoint's own.
    """

    graphql_transport_ws_handler_class = CheckedHandler
    websocket_adapter_class = JsonMessages

    def __init__(
        self,
        schema: strawberry.Schema,
        app: App,
        platform: Platform,
        *,
        authenticate: Authenticate | None = strawberry.UNSET,
        verifiers: Sequence[Verifier] = (),
        debug: bool = False,
        introspection: bool | None = None,
        max_body_bytes: int = Limits().max_body_bytes,
        max_subscriptions: int = Limits().max_subscriptions,
        max_response_bytes: int = Limits().max_response_bytes,
        max_unread_bytes: int = Limits().max_unread_bytes,
        max_stall_seconds: float = Limits().max_stall_seconds,
        allowed_origins: Sequence[str] = (),
    ) -> None:
        super().__init__(
            schema,
            graphql_ide="graphiql" if debug else None,
            allow_queries_via_get=debug,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
            connection_init_wait_timeout=_CONNECTION_INIT_TIMEOUT,
            max_subscriptions_per_connection=max_subscriptions,
        )
        count_values(schema)
        self._server_stop = ServerStop()
        self._hides_schema = not (debug if introspection is None else introspection)
        self.origins = checked_origins(allowed_origins)
        self.app = app
        self.platform = platform
        if authenticate is strawberry.UNSET:
            warn_of_anonymous(app)
            authenticate = None
        self._callers = Callers(authenticate, *verifiers)
        self.max_body_bytes = max_body_bytes
        self.max_response_bytes = max_response_bytes
        self.max_unread_bytes = max_unread_bytes
        self.sending = Sending(max_unread_bytes, max_stall_seconds)
        self.max_values = max_values_in_request(limits_of(schema))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, or serve one WebSocket."""
        if scope["type"] == "websocket":
            await self._serve_websocket(WebSocket(scope, receive, send))
            return
        request = Request(scope, self._limited(receive))
        try:
            self._check_head(request)
            response = await (self.render_graphql_ide(request) if self._wants_ide(request) else self.run(request))
        except ClientDisconnect:
            return
        except BaseException as error:
            response = refusal(request.headers.get("accept", ""), contained(error))
        with suppress(SlowReaderError), self.sending.to(receive) as held:
            if not isinstance(response, StreamingResponse):
                held.count_whole(len(response.body))
            await send_response(response, scope, receive, held.in_pieces(send))

    async def _serve_websocket(self, websocket: WebSocket) -> None:
        try:
            async with may_expire(websocket):
                await self.run(websocket)
        except BaseException as raised:
            error = contained(raised)
            if is_public(error):
                await _close(websocket, _close_code(error), error.message)
            else:
                internal_error(error, "a WebSocket")
                await _close(websocket, 4500, "Internal error")

    def is_websocket_origin_allowed(self, request: WebSocket, origin: str) -> bool:
        """Whether a page of another origin may open a WebSocket."""
        del request
        return is_allowed(origin, self.origins)

    def _wants_ide(self, request: Request) -> bool:
        return self.graphql_ide is not None and self.should_render_graphql_ide(StarletteRequestAdapter(request))

    def _check_head(self, request: Request) -> None:
        allowed = ("GET", "POST") if self.allow_queries_via_get else ("POST",)
        if request.method not in allowed:
            raise method_not_allowed(f"GraphQL is served by {' and '.join(allowed)}.", allowed)
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > _MAX_LENGTH_DIGITS or int(length) > self.max_body_bytes:
            raise self._too_large()

    def _limited(self, receive: Receive) -> Receive:
        """The same, until more than the limit has come in."""
        left = self.max_body_bytes

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RefusedRequestError:
        # without `connection: close`, which makes servers cut off clients that are still sending and read no answer
        message = f"The body is larger than the limit of {self.max_body_bytes} bytes."
        return RefusedRequestError(413, {"code": "PAYLOAD_TOO_LARGE"}, message)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> dict[str, Any]:
        """What resolvers find in `info.context`: `request`, `response` and `user`."""
        context: dict[str, Any] = {
            "request": request,
            "response": response,
            RESPONSE_LIMIT_KEY: self.max_response_bytes,
        }
        if self._hides_schema:
            context[HIDES_SCHEMA_KEY] = True
        if not self._callers.are_known:
            self._enter(context, _ANONYMOUS)
        elif not isinstance(request, WebSocket):  # whose caller is known when `connection_init` has come
            await self._identify(context, AuthRequest(request.scope))
        return context

    async def on_ws_connect(self, context: dict[str, Any]) -> UnsetType | dict[str, object] | None:
        """Find out who has sent `connection_init`, and does all that comes after it."""
        if self._callers.are_known:
            await self._identify(context, AuthRequest(context["request"].scope, context["connection_params"]))
        return await super().on_ws_connect(context)

    async def _identify(self, context: dict[str, Any], request: AuthRequest) -> None:
        caller = await self._callers.of(request)
        expire_at(request.scope, caller.expires_at)
        self._enter(context, caller)

    def _enter(self, context: dict[str, Any], caller: Authenticated) -> None:
        context["user"] = caller.user
        context[CONTEXT_KEY] = Binding(self.platform, self.app, caller.user, caller.grant)

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        """What resolvers set headers and status on; its media type is the one the client gets."""
        response = await super().get_sub_response(request)
        response.media_type = media_type_for(request.headers.get("accept", ""))
        return response

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        """Read the request, or say what it lacks."""
        if request.method == "GET":
            return _streamed(request_data(from_query_string(request.query_params, self.max_values)), request)
        check_content_type(request.content_type or "")
        data = read_json(await request.get_body(), self.max_values)
        if isinstance(data, list):
            self._validate_batch_request(data, protocol="http")
            return [request_data(item) for item in data]
        return _streamed(request_data(data), request)

    async def execute_operation(  # noqa: PLR0917 - Strawberry's own
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        request_data: GraphQLRequestData | list[GraphQLRequestData],
        context: dict[str, Any],
        root_value: None,
        sub_response: Response,
    ) -> Any:
        """The result, or the results of a stream, which is begun whatever comes of it."""
        if isinstance(request_data, list):  # which is one answer
            context[RESPONSE_LIMIT_KEY] = Budget(self.max_response_bytes)
        result: Any = await super().execute_operation(
            request, request_adapter, request_data, context, root_value, sub_response
        )
        return until_refused(result) if isinstance(result, AsyncGenerator) else result

    async def create_streaming_response(
        self,
        request: Request | WebSocket,
        stream: Callable[[], AsyncIterator[str]],
        sub_response: Response,
        headers: Mapping[str, str],
    ) -> Response:
        """A stream of events, which ends when the server is to stop."""
        response = await super().create_streaming_response(
            request, lambda: self._server_stop.until(stream()), sub_response, headers
        )
        protect(response)
        return response

    def encode_json(self, data: object) -> str:
        """What is sent on a stream; there, too, an answer that has no JSON or is too long is an error."""
        try:
            text = as_json(data)
            if len(text) <= self.max_response_bytes:
                return text.decode()
            answer = self._too_long()
        except ValueError as error:
            answer = internal_answer(error, "a stream")
        failed: dict[str, object] = {"data": None, "errors": [answer]}
        if isinstance(data, dict) and "payload" in data:  # a message for a WebSocket
            failed = {**data, "payload": failed}
        return as_json(failed).decode()

    def _too_long(self) -> dict[str, Any]:
        """The error in place of an answer whose length was not noticed while it was made."""
        error: dict[str, Any] = {**response_too_long(self.max_response_bytes).formatted}
        return error

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        """The body; without `data` when nothing ran (GraphQL specification, section 7.1)."""
        response = await super().process_result(request, result)
        if result.data is None and result.errors and all(error.path is None for error in result.errors):
            del response["data"]
        return response

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        """The body as JSON, with the status that fits the media type."""
        media_type = sub_response.media_type or JSON
        status = sub_response.status_code or status_of(response_data, media_type)
        body = as_json(response_data)
        if len(body) > self.max_response_bytes:
            body = as_json({"data": None, "errors": [self._too_long()]})
        response = Response(body, status, media_type=media_type, background=sub_response.background)
        response.raw_headers.extend(sub_response.raw_headers)
        protect(response)
        return response


def warn_of_anonymous(app: App) -> None:
    """Log that nobody has said who calls an API, nor that this is meant."""
    _start_logger.warning(
        "App %r does not identify its callers: a request without a token that the app issued is anonymous, and whoever "
        "has the ID of an anonymous run can read and cancel it. Write create_asgi(..., authenticate=...), with a "
        "function of an AuthRequest that returns a User, or authenticate=None if that is what you want.",
        app.name,
    )


def _close_code(error: GqlpluginError) -> int:
    """How a WebSocket is closed; 1013 is "try again later", which clients do."""
    if isinstance(error, UnauthenticatedError):
        return 4401
    return 1013 if error.retryable else 4403


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close what may be closed already."""
    if WebSocketState.DISCONNECTED not in (websocket.client_state, websocket.application_state):
        with suppress(WebSocketDisconnect):
            await websocket.close(code, close_reason(reason))


def _streamed(data: GraphQLRequestData, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
    """The same request, to be answered as the client wants it."""
    accept = request.headers.get("accept", "")
    return replace(data, protocol="sse") if wants_stream(accept, data.query) else data
