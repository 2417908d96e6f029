"""Serving over HTTP, and the URL that clients see."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast
from urllib.parse import urlsplit

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from hypercorn.utils import LifespanFailureError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gqlplugin.errors import InvalidInputError
from gqlplugin.platform.tailor.credentials import is_loopback
from gqlplugin.tasks import begin, result_of

_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_logger = logging.getLogger("gqlplugin.tailor.server")

current_scope: ContextVar[Scope] = ContextVar("gqlplugin_request_scope")
"""The ASGI scope of the request that is being answered, which Connect's context lacks."""


class PublicUrl:
    """Finds the URL of a server.

    A header that anyone can send must not redirect a secret, nor send it unencrypted. So the `Host` header counts over
    https, or where it names this very machine; `X-Forwarded-Proto` and `X-Forwarded-Host` count from trusted proxies.

    Args:
        url: The URL, where it is known; empty to derive it from each request.
        trusted_proxies: IP addresses and networks; "*" trusts all.

    Raises:
        InvalidInputError: The URL, an address or a network is malformed.
    """

    def __init__(self, url: str, trusted_proxies: Iterable[str]) -> None:
        if url and not _is_base_url(url):
            raise InvalidInputError("url must be the http or https URL of this server, without credentials and query.")
        self._url = url.rstrip("/")
        given = list(trusted_proxies)
        self._trusts_all = "*" in given
        self._trusted = [_network(one) for one in given if one != "*"]
        self._warned = False

    def of(self, scope: Scope) -> str:
        """The URL for whoever sent a request; empty where there is none that a secret may be sent to."""
        if self._url:
            return self._url
        base = self._origin(scope, Headers(scope=scope))
        return base and base + str(scope.get("root_path", "")).rstrip("/")

    def _origin(self, scope: Scope, headers: Headers) -> str:
        scheme, host = scope["scheme"], headers.get("host", "")
        forwarded = _last(headers, "x-forwarded-proto").lower()
        if forwarded in _DEFAULT_PORTS and self._is_trusted(scope):
            return _url(forwarded, _last(headers, "x-forwarded-host") or host)
        name = _hostname(host)
        if host and name is None:
            return ""
        if name is not None and (scheme == "https" or is_loopback(name)):
            return _url(scheme, host)
        server, port = scope.get("server") or ("", None)
        if port is None and server.startswith("/"):  # a Unix socket
            server = ""
        if forwarded == "https" and scheme == "http":
            self._warn(scope)
            if not is_loopback(server):
                return ""
        server = f"[{server}]" if ":" in server else server
        return _url(scheme, server if port in (None, _DEFAULT_PORTS[scheme]) else f"{server}:{port}")

    def _is_trusted(self, scope: Scope) -> bool:
        if self._trusts_all:
            return True
        try:
            address = ip_address((scope.get("client") or ("", 0))[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)

    def _warn(self, scope: Scope) -> None:
        if self._warned:
            return
        self._warned = True
        peer = (scope.get("client") or ("an unknown address", 0))[0]
        _logger.warning(
            "A proxy at %s reports https, but is not trusted, so the application's URL is not known. Set the URL "
            "(--url, or url= of create_server), or trust the proxy (--forwarded-allow-ips %s, or trusted_proxies=).",
            peer,
            peer,
        )


def _url(scheme: str, host: str) -> str:
    return "" if _hostname(host) is None else f"{scheme}://{host}"


def _hostname(host: str) -> str | None:
    """The name or the address in a host, without its port; None when it is malformed."""
    if not _HOST.fullmatch(host):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname


def _last(headers: Headers, name: str) -> str:
    """The value that the nearest proxy added."""
    values = headers.getlist(name)
    return values[-1].rpartition(",")[2].strip() if values else ""


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise InvalidInputError(
            f"A trusted proxy must be an IP address, a network such as 10.0.0.0/8, or '*', not {text!r}."
        ) from None


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    return whole and not ("@" in parts.netloc or parts.query or parts.fragment)


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
