"""Subscriptions over graphql-transport-ws WebSockets and server-sent events."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, Literal, cast

from anyio import CancelScope
from graphql import GraphQLError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.async_base_view import AsyncBaseHTTPView
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived
from strawberry.http.exceptions import WebSocketDisconnected as ClientHasLeft
from strawberry.schema.schema import StreamResult
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message, SubscribeMessage

from gqlplugin.graphql.http import DEFAULT_MAX_VALUES, GRAPHQL_RESPONSE, JSON, RefusedRequestError, read_json
from gqlplugin.graphql.limits import LIMIT_EXCEEDED, Limits
from gqlplugin.graphql.response_limits import SlowReaderError
from gqlplugin.tasks import begin

EVENT_STREAM = "text/event-stream"
_POLL_SECONDS = 0.1


def wants_stream(accept: str, query: str | None) -> bool:
    """Whether to answer with a stream: the client accepts nothing else, or accepts one and seems to subscribe.

    Some clients accept both for whatever they ask; a query is better answered with JSON then.
    """
    types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if EVENT_STREAM not in types:
        return False
    return not types & {JSON, GRAPHQL_RESPONSE, "*/*", "application/*"} or "subscription" in (query or "")


class ServerStop:
    """Ends streams when the server is told to stop.

    uvicorn closes WebSockets then, but waits for responses to end, and tells nobody. While there are streams, one task
    looks whether it is to stop, as often as uvicorn itself does.
    """

    def __init__(self) -> None:
        self._streams = 0
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def until(self, chunks: AsyncIterator[str]) -> AsyncIterator[str]:
        """What a stream yields, until it ends or the server is to stop."""
        stream: Any = chunks  # an async generator, which must not be left half read
        async with self._noticing() as stopped, aclosing(stream):
            while True:
                chunk: asyncio.Future[Any] = begin(anext(stream, None))
                try:
                    await asyncio.wait([chunk, stopped], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not chunk.done():
                        chunk.cancel()
                        with CancelScope(shield=True):  # Starlette cancels again and again
                            await asyncio.wait([chunk])
                if chunk.cancelled() or (text := chunk.result()) is None:
                    return
                yield text

    @asynccontextmanager
    async def _noticing(self) -> AsyncIterator[asyncio.Future[Any]]:
        self._streams += 1
        if self._task is None:
            self._stopped = asyncio.Event()
            self._task = asyncio.create_task(self._look())
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            yield stopped
        finally:
            stopped.cancel()
            self._streams -= 1
            if not self._streams:
                self._task.cancel()
                self._task = None

    async def _look(self) -> None:
        while not _is_server_stopping():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_POLL_SECONDS)
        self._stopped.set()


def _is_server_stopping() -> bool:
    """Whether the uvicorn server that has the signals of this process was told to stop; False without one."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))


class TransportHandler(BaseGraphQLTransportWSHandler[dict[str, Any], None]):
    """Strawberry's, which refuses too many operations with a code, and takes a client that leaves for no error."""

    async def handle_task_exception(self, error: Exception) -> None:
        """Log what broke an operation, unless it is that nobody is there to be told."""
        if not isinstance(error, ClientHasLeft):
            await super().handle_task_exception(error)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Run an operation, unless as many as may are under way on this connection."""
        limit = self.max_subscriptions_per_connection
        is_over = limit is not None and len(self.operations) >= limit
        if not self.connection_acknowledged or message["id"] in self.operations or not is_over:
            await super().handle_subscribe(message)
            return
        error = GraphQLError(
            f"{limit} operations are under way on this connection, which is the limit: end one, or connect again.",
            extensions={"code": LIMIT_EXCEEDED},
        )
        await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})


_PART_OF_ONE = 4  # of what all clients together may leave unread, a WebSocket has this part
_MAX_REASON_BYTES = 123  # RFC 6455, section 5.5: a close frame has room for no more


class _Signal(BaseModel):
    type: Literal["connection_init", "ping", "pong"]
    payload: dict[str, Any] | None = None


class _Request(BaseModel):
    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = Field(default=None, alias="operationName")
    extensions: dict[str, Any] | None = None


class _Subscribe(BaseModel):
    type: Literal["subscribe"]
    id: str = Field(min_length=1)
    payload: _Request


class _Complete(BaseModel):
    type: Literal["complete"]
    id: str = Field(min_length=1)


_MESSAGE: TypeAdapter[_Signal | _Subscribe | _Complete] = TypeAdapter(
    Annotated[_Signal | _Subscribe | _Complete, Field(discriminator="type")]
)


def fault_in(message: object) -> str | None:
    """Why something is no message of a client, for the reason of a close; None if it is one."""
    try:
        _MESSAGE.validate_python(message)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(step) for step in problem["loc"][1:])
        if not place:
            return "This is no message that a client may send"
        said = "Input should be an object" if problem["type"] in ("dict_type", "model_type") else problem["msg"]
        return f"`{place}`: {said}"
    return None


def close_reason(text: str) -> str:
    """As much of a text as a close frame has room for."""
    return text.encode(errors="ignore")[:_MAX_REASON_BYTES].decode(errors="ignore")


class JsonMessages(ASGIWebSocketAdapter):
    """Reads JSON values from text frames, none longer than the limit; deep ones break nothing.

    What is sent is counted until the client has read it.
    """

    def __init__(
        self, view: AsyncBaseHTTPView[Any, Any, Any, Any, Any, Any, Any], request: WebSocket, response: WebSocket
    ) -> None:
        super().__init__(view, request, response)
        self._unread = 0

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        """What comes in, until the WebSocket is closed."""
        limit: int = getattr(self.view, "max_body_bytes", Limits().max_body_bytes)
        max_values: int = getattr(self.view, "max_values", DEFAULT_MAX_VALUES)
        while self.ws.application_state != WebSocketState.DISCONNECTED:
            try:
                text = await self.ws.receive_text()
            except WebSocketDisconnect:
                return
            except KeyError as error:
                raise NonTextMessageReceived from error
            if len(text) > limit:
                await self.close(1009, f"The message is longer than the limit of {limit} bytes")
                return
            try:
                yield read_json(text, max_values)
            except RefusedRequestError as error:
                if not ignore_parsing_errors:
                    raise NonJsonMessageReceived from error

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send a message, unless the WebSocket was closed from either end, or its client does not read."""
        view: Any = self.view
        text = view.encode_json(message)
        self._unread += len(text)
        try:
            with view.sending.to(self.ws._receive) as held:  # noqa: SLF001 - where the connection can be closed
                if self._unread > view.max_unread_bytes // _PART_OF_ONE:
                    view.sending.cut(held, "it leaves too much unread")
                held.begin(len(text))
                await self.ws.send_text(text)
        except (SlowReaderError, WebSocketDisconnect, WebSocketDisconnected) as error:
            raise ClientHasLeft from error
        finally:
            self._unread -= len(text)

    async def close(self, code: int, reason: str) -> None:
        """Close the WebSocket, if it is open."""
        if self.ws.application_state != WebSocketState.DISCONNECTED:
            await super().close(code, close_reason(reason))


class CheckedHandler(TransportHandler):
    """Answers messages that were checked, and operations that an extension refuses."""

    async def handle_message(self, message: Message) -> None:
        """Take a message, or close the WebSocket with 4400."""
        if fault := fault_in(message):
            await self.handle_invalid_message(fault)
            return
        if message.get("payload", {}) is None:  # the same as none, which Strawberry does not know
            message = cast(Message, {**message, "payload": {}})
        await super().handle_message(message)

    async def _send_result_stream(
        self, operation: Operation[dict[str, Any], None], result_source: StreamResult
    ) -> None:
        try:
            await super()._send_result_stream(operation, result_source)
        except GraphQLError as error:  # raised by our extension, whose errors are for clients
            await operation.send_initial_errors([error])
