"""HTTP/1.1 for uvicorn, with bounds for what comes before the body of a request."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0

_PIECE = 64 * 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 34\r\n\r\nThe head of a request is too large"
)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's own protocol, which keeps any amount of headers, with a limit: `uvicorn.run(asgi, http=BoundedHttp)`.

    A request line with its headers may have 64 KiB, as may the trailers after a chunked body and what comes with each
    chunk; more is answered with status 431. A head that is not complete within 20 seconds ends its connection, as does
    a new connection that sends nothing.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has connected."""
        super().connection_made(transport)
        self._unread = 0
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come: count those that belong to no body."""
        for start in range(0, len(data), _PIECE):
            piece = data if len(data) <= _PIECE else data[start : start + _PIECE]
            self._unread += len(piece)
            super().data_received(piece)
            if self.transport.is_closing() or self.transport.get_protocol() is not self:  # it is a WebSocket now
                return
            if self._unread > MAX_HEAD_BYTES:
                self.logger.warning("The head of a request is larger than %d bytes.", MAX_HEAD_BYTES)
                self._refuse()
                return
        if self._unread and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_headers_complete(self) -> None:
        """The head of a request is complete."""
        self._unread = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body has come."""
        self._unread = 0
        self._stop_timer()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete, with its trailers."""
        self._unread = 0
        self._stop_timer()
        super().on_message_complete()

    def _refuse(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:  # else it would be in the middle of an answer
            self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
