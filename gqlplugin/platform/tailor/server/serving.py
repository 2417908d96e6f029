"""Serving an ASGI app to every client of the contract: HTTP/1.1 and HTTP/2 without TLS, on one port."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from hypercorn.utils import LifespanFailureError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gqlplugin.tasks import begin, result_of

_CANCELLING_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 60.0  # above the interval that clients poll at, so that no request meets a closing connection
_DRAIN_SECONDS = 10.0
_DRAIN_BYTES = 64 * 1024 * 1024


async def run_server(
    asgi: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int,
    shutdown: asyncio.Event,
    started: Callable[[int], object] | None = None,
    grace: timedelta = timedelta(seconds=3),
) -> None:
    """Serve an app until it is told to stop, or is cancelled.

    Args:
        asgi: The app; its lifespan is run.
        host: The address to listen at.
        port: The port to listen at; 0 takes a free one.
        shutdown: Set it to stop. It is set, too, when this is cancelled.
        started: Called with the real port once the app has started.
        grace: How long requests get to end at shutdown.

    Raises:
        OSError: The address can't be listened at. Nothing was started.
        Exception: What the app's lifespan raised.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    real_port: int = listener.getsockname()[1]
    guarded = _Guarded(asgi, lambda: started and started(real_port))
    config = _config(listener, grace.total_seconds())
    serving = begin(serve(cast(ASGIFramework, guarded), config, mode="asgi", shutdown_trigger=shutdown.wait))
    late = asyncio.create_task(_cancel_late(guarded, shutdown, grace.total_seconds()))
    try:
        await result_of(serving)
    except asyncio.CancelledError:
        shutdown.set()
        await serving
        raise
    except LifespanFailureError as error:
        raise error.__context__ or error from None  # hypercorn's own has the traceback for a message
    finally:
        late.cancel()
        if guarded.started:
            listener.detach()  # hypercorn has closed it
        else:
            listener.close()


def _config(listener: socket.socket, grace: float) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.errorlog = logging.getLogger("hypercorn.error")  # a name would replace the handlers of whoever serves
    config.include_server_header = False
    config.graceful_timeout = grace + _CANCELLING_SECONDS
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = sys.maxsize  # over HTTP/2 the request that reaches it is not answered
    return config


async def _cancel_late(guarded: _Guarded, shutdown: asyncio.Event, grace: float) -> None:
    await shutdown.wait()
    await asyncio.sleep(grace)
    guarded.cancel_requests()


class _Guarded:
    """Keeps what an app does from what hypercorn (0.18) can't bear.

    - An answer before the end of the request's body blocks the connection, or breaks it: so the rest is read first.
    - From Python 3.12 on a request that does not end keeps the server from ending: so they are cancelled.
    """

    def __init__(self, asgi: ASGIApp, when_started: Callable[[], object]) -> None:
        self.started = False
        self._asgi = asgi
        self._when_started = when_started
        self._requests: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - hypercorn runs each request in one
        self._requests.add(task)
        try:
            body = _Body(receive)
            await self._asgi(scope, body.receive, body.sending(send))
        finally:
            self._requests.discard(task)

    def cancel_requests(self) -> None:
        """Cancel what is still being answered."""
        for task in self._requests:
            task.cancel()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._when_started()
                self.started = True

        await self._asgi(scope, receive, watch)


class _Body:
    """The body of a request, which is read to its end before the answer begins."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._ended = True
        return message

    def sending(self, send: Send) -> Send:
        async def send_after(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._drain()
            await send(message)

        return send_after

    async def _drain(self) -> None:
        """Read on to the end, within bounds: a client that goes on and on loses its connection."""
        left = _DRAIN_BYTES
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not self._ended and left > 0:
                    message = await self.receive()
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return
