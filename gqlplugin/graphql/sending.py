"""Sending what clients may not read: how much of it is held for all of them, and for how long.

ASGI servers take a message as a whole and then wait until the client has read most of it. So a long body is sent in
pieces, and what waits to be sent is counted. Connections whose clients read nothing are closed: after a while, and at
once when all that waits is too much.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from types import TracebackType
from typing import Any, Self

from starlette.types import Message, Receive, Send

_PIECE_BYTES = 64 * 1024  # where uvicorn begins to wait
_LOOKS = 4  # per time that a client may read nothing
_NOT_SENDING = float("inf")

_logger = logging.getLogger("gqlplugin.graphql")


class SlowReaderError(Exception):
    """The client has read nothing for too long."""


class Sending:
    """What an endpoint has to send, and its clients have not read.

    Args:
        max_bytes: Of all that waits to be sent.
        max_seconds: How long a client may read nothing.

    Attributes:
        held: What is being sent, by connection.
        unread_bytes: What waits to be sent.
    """

    def __init__(self, max_bytes: int, max_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self.unread_bytes = 0
        self.held: set[Held] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def to(self, receive: Receive) -> Held:
        """Watch what is sent on a connection, as a context manager.

        Args:
            receive: That of the connection.

        Raises:
            SlowReaderError: From the block, where the connection could not be closed otherwise.
        """
        return Held(self, _transport_of(receive))

    def watch(self, held: Held) -> None:
        """Look from time to time whether a client reads."""
        self.held.add(held)
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self._max_seconds / _LOOKS, self._look)

    def add(self, size: int, held: Held) -> None:
        """Count bytes that wait, and make room for them."""
        self.unread_bytes += size
        excess = self.unread_bytes - self._max_bytes
        if size <= 0 or excess <= 0:
            return
        for one in sorted(self.held - {held}, key=lambda one: one.since):
            if excess > 0 and one.since != _NOT_SENDING:
                excess -= one.size
                self.cut(one, "the endpoint holds too much that nobody reads")

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._max_seconds / _LOOKS, self._look) if self.held else None
        now = monotonic()
        for held in list(self.held):
            if held.has_progressed():
                held.since = now
            elif held.since <= now - self._max_seconds:
                self.cut(held, f"nothing was read for {self._max_seconds:g} s")

    def cut(self, held: Held, why: str) -> None:
        """Close a connection, and say why in the log."""
        self.held.discard(held)
        _logger.warning("A connection is closed whose client does not read: %s.", why)
        held.end()


class Held:
    """What is being sent on one connection.

    Attributes:
        size: Bytes that wait.
        since: The monotonic time when a piece began to wait.
        cancelled: The task that was cancelled to end it.
    """

    __slots__ = ("_buffered", "_sending", "_task", "_transport", "cancelled", "is_whole", "since", "size")

    def __init__(self, sending: Sending, transport: asyncio.WriteTransport | None) -> None:
        self.size = 0
        self.since = _NOT_SENDING
        self.cancelled: asyncio.Task[Any] | None = None
        self.is_whole = False
        self._sending = sending
        self._transport = transport
        self._buffered = 0
        self._task: asyncio.Task[Any] | None = None

    def count(self, size: int) -> None:
        """Count bytes that wait; less than none of those that wait no more."""
        self.size += size
        self._sending.add(size, self)

    def count_whole(self, size: int) -> None:
        """Count the only body of a response before any of it is sent, so that its pieces count nothing."""
        self.is_whole = True
        self.count(size)

    def __enter__(self) -> Self:
        self._sending.watch(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.size:
            self.count(-self.size)
        self._sending.held.discard(self)
        if self.cancelled is not None and isinstance(error, asyncio.CancelledError):
            self.cancelled.uncancel()
            raise SlowReaderError from None

    def begin(self, size: int) -> None:
        """Count bytes that are about to be sent, which is to take no longer than it may, until `finish`."""
        if self._transport is None:
            self._task = asyncio.current_task()
        self.since = monotonic()
        if size:
            self.count(size)

    def finish(self, size: int) -> None:
        """Undo `begin`."""
        self.since = _NOT_SENDING
        if size:
            self.count(-size)

    def in_pieces(self, send: Send) -> Send:
        """The same as `send`, in pieces, each of which has its time."""

        async def send_in_pieces(message: Message) -> None:
            body = message.get("body", b"")
            size = 0 if self.is_whole else len(body)
            self.begin(size)
            try:
                if len(body) <= _PIECE_BYTES:
                    await send(message)
                    return
                more_body = message.get("more_body", False)
                for start in range(0, len(body), _PIECE_BYTES):
                    end = start + _PIECE_BYTES
                    self.since = monotonic()
                    await send({**message, "body": body[start:end], "more_body": more_body or end < len(body)})
            finally:
                self.finish(size)

        return send_in_pieces

    def has_progressed(self) -> bool:
        """Whether the client has read something since this was asked before, as far as that can be seen."""
        if self._transport is None or self.since == _NOT_SENDING:
            return False
        before, self._buffered = self._buffered, self._transport.get_write_buffer_size()
        return self._buffered < before

    def end(self) -> None:
        """Close the connection, or end the task that sends."""
        if self._transport is not None:
            self._transport.abort()
        elif self._task is not None:
            self.cancelled = self._task
            self._task.cancel()


def _transport_of(receive: Receive) -> asyncio.WriteTransport | None:
    """The connection, where uvicorn serves it: ASGI can't close one without waiting for the client to read."""
    transport: asyncio.WriteTransport | None = getattr(getattr(receive, "__self__", None), "transport", None)
    is_one = hasattr(transport, "abort") and hasattr(transport, "get_write_buffer_size")
    return transport if is_one else None  # uvloop's are of no class of asyncio's
