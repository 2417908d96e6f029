"""Servers on a port of this machine."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from gqlplugin.platform.tailor.server.serving import run_server

TOKEN = "a-token-for-these-tests-alone"  # noqa: S105 - of servers that live as long as a test
WORKSPACE = "11111111-2222-4333-8444-555555555555"


def free_port() -> int:
    """A port that nobody listens on now, and that the system gives to nobody by itself."""
    while True:
        port = random.randrange(10_000, 32_000)  # noqa: S311 - below those that Linux and macOS give out
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@asynccontextmanager
async def serving(asgi: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Serve an app on loopback, as `gqlplugin serve-platform` does, and yield its URL."""
    shutdown = asyncio.Event()
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(run_server(asgi, port=port, shutdown=shutdown, started=bound.set_result))
    either: list[asyncio.Future[Any]] = [server, bound]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        await server
    try:
        yield f"http://127.0.0.1:{bound.result()}"
    finally:
        shutdown.set()
        await server


class _Uvicorn(uvicorn.Server):
    """Ends as soon as it is told to, where uvicorn looks ten times per second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.end = asyncio.Event()

    async def main_loop(self) -> None:
        while not (await self.on_tick(0) or self.end.is_set()):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.end.wait(), 0.1)


@asynccontextmanager
async def uvicorn_serving(asgi: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """Serve an app by uvicorn, with options for its `Config`, and yield its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server = _Uvicorn(uvicorn.Config(asgi, **{"log_config": None, "lifespan": "on", **options}))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(60):
            while not (server.started or serving.done()):  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
        assert server.started, "It ended at once."
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.end.set()
            async with asyncio.timeout(60):
                await serving
