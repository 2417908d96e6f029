"""Answers that are streams of server-sent events, and the limits of subscriptions.

The protocol is GraphQL over Server-Sent Events, in its distinct connections mode:
https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from anyio import CancelScope
from graphql import GraphQLError
from strawberry.http.exceptions import WebSocketDisconnected as ClientHasLeft
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import SubscribeMessage

from gqlplugin.graphql.http import GRAPHQL_RESPONSE, JSON
from gqlplugin.graphql.limits import LIMIT_EXCEEDED
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
