"""Serving on one port, and what clients can do to it."""

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import httpx
import pytest
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, StreamEnded
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gqlplugin.platform.tailor.server.serving import run_server
from tests.loopback import free_port
from tests.platform.tailor.server.support import (
    PATIENCE_SECONDS,
    TOKEN,
    WORKSPACE,
    Client,
    http_client,
    serving,
    shop_server,
    until,
)

pytestmark = pytest.mark.anyio

METHOD = "/tailor.v1.OperatorService/ListWorkflows"
BODY = b'{"workspaceId": "%s"}' % WORKSPACE.encode()
GET = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "127.0.0.1")]
QUICK = timedelta(milliseconds=100)


class App:
    """An app that tells of its lifespan, and answers when it is let."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.asgi = Starlette(routes=[Route("/", self.answer)], lifespan=self.lifespan)

    async def answer(self, _: Request) -> Response:
        self.asked.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        return PlainTextResponse("answered")

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.events.append("entered")
        try:
            yield
        finally:
            self.events.append("left")


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(("token", "status"), [(TOKEN, 429), ("wrong", 401)])
async def test_bodies_that_are_too_large(http2: bool, token: str, status: int) -> None:
    """A body above 4 MiB is refused, and its connection goes on to serve."""
    async with shop_server() as served, http_client(served.port, token=token, http2=http2) as http:
        for _ in range(2):
            response = await http.post(METHOD, content=b" " * 6_000_000, headers={"content-type": "application/json"})
            assert response.status_code == status
        assert (await http.get("/healthz")).json() == {"status": "ok"}


async def test_body_within_the_limit() -> None:
    """A body below 4 MiB is read."""
    async with shop_server() as served:
        response = await served.client.http.post(
            METHOD, content=BODY + b" " * 4_000_000, headers={"content-type": "application/json"}
        )
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("encoding", "make_body", "status", "code"),
    [
        ("gzip", lambda: gzip.compress(BODY), 200, "None"),
        ("gzip", lambda: gzip.compress(b" " * 100_000_000), 429, "resource_exhausted"),
        ("gzip", lambda: BODY, 400, "invalid_argument"),
        ("gzip", lambda: gzip.compress(BODY)[:-9], 400, "invalid_argument"),
        ("br", lambda: BODY, 501, "unimplemented"),
    ],
    ids=["good", "too-large", "not-compressed", "cut-off", "unknown"],
)
async def test_compressed_bodies(encoding: str, make_body: Callable[[], bytes], status: int, code: str) -> None:
    """A compressed body is bounded by what it holds, not by its length."""
    async with shop_server() as served:
        headers = {"content-type": "application/json", "content-encoding": encoding}
        response = await served.client.http.post(METHOD, content=make_body(), headers=headers)
    assert (response.status_code, str(response.json().get("code"))) == (status, code)


async def test_body_without_end() -> None:
    """A client that sends on and on is answered, and then its connection is closed."""
    async with shop_server() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"POST %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % METHOD.encode())
        sent = 0
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"

        async def send() -> None:
            nonlocal sent
            while True:
                writer.write(chunk)
                await writer.drain()
                sent += 1

        sending = asyncio.create_task(send())
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b"\r\n")
            await asyncio.wait([sending])
        assert head.startswith(b"HTTP/1.1 401")
        assert isinstance(sending.exception(), ConnectionError)
        assert sent < 200
        writer.close()


async def test_connections_that_live_long() -> None:
    """A client that polls over one connection of HTTP/2 loses no answer, however many it asks for."""
    app = App()
    app.go_on.set()
    async with serving(app.asgi) as port, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connection = H2Connection()
        connection.initiate_connection()
        for _ in range(21):
            for _ in range(50):
                connection.send_headers(connection.get_next_available_stream_id(), GET, end_stream=True)
            writer.write(connection.data_to_send())
            answered = 0
            while answered < 50:
                data = await reader.read(65536)
                assert data
                events = connection.receive_data(data)
                assert not any(isinstance(event, ConnectionTerminated) for event in events)
                answered += sum(isinstance(event, StreamEnded) for event in events)
        writer.close()


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
async def test_no_secret_and_no_access_in_the_log(token: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of a request is logged, least of all what it authenticates with."""
    caplog.set_level(logging.DEBUG)
    handlers = list(logging.getLogger("hypercorn.error").handlers)
    async with shop_server() as served, http_client(served.port, token=token) as http:
        client = Client(http)
        reply = await client.call("GetAuthMachineUser", {"authNamespace": "my-auth", "name": "manager"})
        user = reply.body.get("machineUser", {"clientId": "a", "clientSecret": "the-wrong-secret"})
        form = {"grant_type": "client_credentials", "client_id": user["clientId"]}
        answer = await http.post("/oauth2/token", data={**form, "client_secret": user["clientSecret"]})
        secrets = [f"Bearer {token}", TOKEN, user["clientSecret"], answer.json().get("access_token", TOKEN)]
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert {record.name for record in ours} <= {"asyncio", "hypercorn.error"}
    texts = [record.getMessage() for record in ours]
    assert not any(secret in text for secret in secrets for text in texts)
    assert not any("OperatorService" in text for text in texts)
    assert logging.getLogger("hypercorn.error").handlers == handlers


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False


@pytest.mark.parametrize("http2", [False, True])
async def test_shutdown_lets_requests_end(http2: bool) -> None:
    """A request that is under way at shutdown is answered; the lifespan ends after it."""
    app = App()
    shutdown = asyncio.Event()
    ports: list[int] = []
    started = asyncio.Event()

    def when_started(port: int) -> None:
        ports.append(port)
        started.set()

    server = asyncio.create_task(run_server(app.asgi, port=0, shutdown=shutdown, started=when_started))
    await started.wait()
    assert app.events == ["entered"]
    async with http_client(ports[0], http2=http2) as http:
        request = asyncio.create_task(http.get("/"))
        await app.asked.wait()
        shutdown.set()
        await until(partial(refuses, ports[0]))
        app.go_on.set()
        assert (await request).text == "answered"
    async with asyncio.timeout(PATIENCE_SECONDS):
        await server
    assert app.events == ["entered", "left"]


@pytest.mark.parametrize("http2", [False, True])
async def test_shutdown_is_bounded(http2: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that does not end is cancelled once its grace is over."""
    monkeypatch.setattr("gqlplugin.platform.tailor.server.serving._CANCELLING_SECONDS", 3600)
    app = App()
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with serving(app.asgi, grace=QUICK) as port, http_client(port, http2=http2) as http:
            request = asyncio.create_task(http.get("/", timeout=PATIENCE_SECONDS))
            await app.asked.wait()
        [result] = await asyncio.gather(request, return_exceptions=True)
    assert isinstance(result, httpx.HTTPError) or (isinstance(result, httpx.Response) and result.status_code == 500)
    assert app.events == ["entered", "cancelled", "left"]


async def test_shutdown_with_idle_connections() -> None:
    """Connections that are kept alive, or never asked anything, don't hold up a shutdown."""
    app = App()
    app.go_on.set()
    async with serving(app.asgi, grace=timedelta(hours=1)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        async with http_client(port) as http, http_client(port, http2=True) as http2:
            await http.get("/")
            await http2.get("/")
    writer.close()


async def test_cancelled_server_ends_in_order() -> None:
    """A server whose task is cancelled leaves the lifespan, too."""
    app = App()
    started = asyncio.Event()
    server = asyncio.create_task(
        run_server(app.asgi, port=0, shutdown=asyncio.Event(), started=lambda _: started.set())
    )
    await started.wait()
    server.cancel()
    await asyncio.wait([server], timeout=PATIENCE_SECONDS)
    assert server.cancelled()
    assert app.events == ["entered", "left"]


async def test_address_in_use() -> None:
    """When the port is taken nothing is started."""
    app = App()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await run_server(app.asgi, port=port, shutdown=asyncio.Event())
    assert app.events == []


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_lifespan_that_fails(phase: str) -> None:
    """What the lifespan raises is what the server raises, and the port is free again."""
    ports: list[int] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if phase == "startup":
            raise LookupError("no such file")
        yield
        raise LookupError("no such file")

    port = free_port()
    shutdown = asyncio.Event()
    shutdown.set()
    with pytest.raises(LookupError, match="no such file"):
        await run_server(Starlette(lifespan=lifespan), port=port, shutdown=shutdown, started=ports.append)
    assert ports == ([] if phase == "startup" else [port])
    socket.create_server(("127.0.0.1", port)).close()


async def test_callback_that_fails() -> None:
    """When whoever is told of the port fails, so does the server, in order."""
    app = App()
    ports: list[int] = []

    def fail(port: int) -> None:
        ports.append(port)
        raise LookupError("nobody there")

    with pytest.raises(LookupError, match="nobody there"):
        await run_server(app.asgi, port=free_port(), shutdown=asyncio.Event(), started=fail)
    socket.create_server(("127.0.0.1", ports[0])).close()
    assert app.events == ["entered", "left"]


async def test_ipv6() -> None:
    """A host may be an IPv6 address."""
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    ports: list[int] = []
    shutdown = asyncio.Event()
    app = App()
    app.go_on.set()
    server = asyncio.create_task(run_server(app.asgi, host="::1", port=0, shutdown=shutdown, started=ports.append))
    while not ports:
        await asyncio.sleep(0)
        if server.done():
            await server
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
        assert (await http.get(f"http://[::1]:{ports[0]}/")).text == "answered"
    shutdown.set()
    await server
