"""Clients that do not read: how much is held for them, and for how long."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import strawberry
from starlette.applications import Starlette
from starlette.types import Message

from gqlplugin.app import define_app
from gqlplugin.asgi import GraphQLApp, create_asgi
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.testing import MemoryPlatform
from tests.graphql.live import Socket, connected, graphql_served

pytestmark = pytest.mark.anyio

SIZE = 2_500_000
QUERY = "{ text }"


@strawberry.type
class Query:
    @strawberry.field
    def text(self) -> str:
        return "x" * SIZE


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def texts(self) -> AsyncIterator[str]:
        while True:
            yield "x" * SIZE
            await asyncio.sleep(0)


def asgi(**limits: int) -> tuple[Starlette, GraphQLApp]:
    """An app whose answers are long, and its endpoint."""
    app = define_app("long")
    given = Limits(**limits)
    schema = create_schema(app, query=Query, subscription=Subscription, limits=given)
    served = create_asgi(app, MemoryPlatform(), schema=schema, authenticate=None, limits=given)
    endpoint: Any = next(route for route in served.routes if hasattr(route, "app"))
    while not isinstance(endpoint, GraphQLApp):
        endpoint = endpoint.app
    return served, endpoint


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is awaited is in a server
            await asyncio.sleep(0.01)


@asynccontextmanager
async def unread(url: str, query: str = QUERY, *, buffer: int = 2048, **headers: str) -> AsyncIterator[socket.socket]:
    """A request whose answer nobody reads, on a connection that takes little."""
    parts = urlsplit(url)
    body = json.dumps({"query": query}).encode()
    head = {"host": parts.netloc, "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (parts.hostname or "", parts.port or 0))
        await loop.sock_sendall(connection, f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        yield connection


async def is_cut(connection: socket.socket) -> bool:
    """Whether a connection is closed before its answer is complete."""
    received, loop = 0, asyncio.get_running_loop()
    async with asyncio.timeout(30):
        try:
            while data := await loop.sock_recv(connection, 1_000_000):
                received += len(data)
        except ConnectionResetError:
            pass
    return received < SIZE


async def answer(url: str) -> str:
    async with httpx.AsyncClient(timeout=30) as http:
        return str((await http.post(url, json={"query": QUERY})).json()["data"]["text"])


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_client_that_does_not_read_is_cut_off(accept: str, loop: str) -> None:
    """After the time that it may read nothing, whatever it was sent; others are served meanwhile."""
    served, endpoint = asgi(max_stall_seconds=1)
    query = QUERY if accept == "application/json" else "subscription { texts }"
    async with graphql_served(served, loop=loop) as url, unread(url, query, accept=accept) as connection:
        await until(lambda: endpoint.sending.unread_bytes >= SIZE)
        assert len(await answer(url)) == SIZE
        await until(lambda: endpoint.sending.unread_bytes == 0)
        assert await is_cut(connection)


async def test_what_all_leave_unread_is_bounded() -> None:
    """Above the limit those who have waited longest are closed, at once; who comes last is served."""
    served, endpoint = asgi(max_unread_bytes=3 * SIZE + 1000)
    async with graphql_served(served) as url, unread(url) as first:
        await until(lambda: endpoint.sending.unread_bytes > SIZE)
        async with unread(url) as second, unread(url) as third:
            await until(lambda: endpoint.sending.unread_bytes > 3 * SIZE)
            assert len(await answer(url)) == SIZE
            assert await is_cut(first)
            await until(lambda: endpoint.sending.unread_bytes < 3 * SIZE)
            for connection in (second, third):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
                assert not await is_cut_after_reading(connection)


async def is_cut_after_reading(connection: socket.socket) -> bool:
    received, loop = 0, asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while received < SIZE:
            data = await loop.sock_recv(connection, 1_000_000)
            if not data:
                return True
            received += len(data)
    return False


async def test_a_slow_reader_is_served() -> None:
    """Whoever reads a little now and then may take longer than they may read nothing."""
    served, _ = asgi(max_stall_seconds=1)
    async with graphql_served(served) as url, unread(url, buffer=200_000) as connection:
        received, loop, began = 0, asyncio.get_running_loop(), asyncio.get_running_loop().time()
        while received < SIZE:
            data = await loop.sock_recv(connection, SIZE // 20)
            assert data, "It was cut off."
            received += len(data)
            if loop.time() - began < 2:
                await asyncio.sleep(0.1)  # a client that is slow
        assert loop.time() - began > 1


@pytest.mark.parametrize(
    ("limits", "operations"), [({"max_stall_seconds": 1}, 1), ({"max_unread_bytes": 12 * SIZE}, 8)]
)
async def test_a_websocket_that_is_not_read_is_closed(
    limits: dict[str, int], operations: int, caplog: pytest.LogCaptureFixture
) -> None:
    """After the time, or at once when more waits than one may have; nothing is made for it after that."""
    served, endpoint = asgi(**limits)
    async with graphql_served(served) as url, connected(url, compression=None) as client:
        client.pause()
        for number in range(operations):
            await subscribe(client, str(number))
        await until(lambda: "client does not read" in caplog.text)
        await until(lambda: endpoint.sending.unread_bytes == 0)
        assert len(await answer(url)) == SIZE
        client.connection.transport.abort()


async def subscribe(client: Socket, id: str) -> None:
    await client.send({"id": id, "type": "subscribe", "payload": {"query": "subscription { texts }"}})


async def test_a_server_that_can_not_be_closed_is_left_by_its_task() -> None:
    """Where ASGI offers no way to the connection, what waits to be sent is given up."""
    _, endpoint = asgi(max_stall_seconds=1)
    never = asyncio.Event()

    async def receive() -> Message:
        return {"type": "http.request", "body": json.dumps({"query": QUERY}).encode(), "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await never.wait()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    async with asyncio.timeout(30):
        await endpoint(scope, receive, send)
    assert endpoint.sending.unread_bytes == 0
