"""The messages of a WebSocket: what is none is refused, and what an operation can't go on for is told.

The protocol is graphql-transport-ws: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, Literal, cast

from graphql import GraphQLError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.async_base_view import AsyncBaseHTTPView
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived
from strawberry.http.exceptions import WebSocketDisconnected as ClientHasLeft
from strawberry.schema.schema import StreamResult
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message

from gqlplugin.graphql.http import DEFAULT_MAX_VALUES, RefusedRequestError, read_json
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.sending import SlowReaderError
from gqlplugin.graphql.streams import TransportHandler

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
