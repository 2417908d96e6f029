"""Ends WebSockets and streams together with the token that opened them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from gqlplugin.errors import UnauthenticatedError

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
