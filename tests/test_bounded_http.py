"""What comes before and after the body of a request is bounded, in size and in time."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from gqlplugin import bounded_http
from gqlplugin.bounded_http import MAX_HEAD_BYTES, BoundedHttp
from tests.loopback import serving, uvicorn_serving

pytestmark = pytest.mark.anyio

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BUFFERED = 16 * 1024 * 1024
"""More than sockets take in that nobody reads."""


async def count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())


def app() -> Starlette:
    return Starlette(routes=[Route("/", count, methods=["POST"]), WebSocketRoute("/ws", echo)])


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with uvicorn_serving(app(), http=BoundedHttp, timeout_keep_alive=1) as url:
        yield url


async def sent(url: str, first: bytes, more: Iterator[bytes]) -> tuple[int, bytes]:
    """How many bytes a server took until it closed the connection or was sent enough, and what it answered."""
    port = httpx.URL(url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size, reading = 0, asyncio.create_task(reader.read())
    try:
        for piece in itertools.chain([first], more):
            writer.write(piece)
            await writer.drain()
            size += len(piece)
            if reading.done() or size > BUFFERED:
                break
        async with asyncio.timeout(30):
            return size, await reading
    except ConnectionError:
        await asyncio.wait([reading])
        return size, b"" if reading.exception() else reading.result()
    finally:
        reading.cancel()
        writer.close()


def headers() -> Iterator[bytes]:
    return (b"X%d: " % number + b"a" * 8000 + b"\r\n" for number in itertools.count())


def text() -> Iterator[bytes]:
    return itertools.repeat(b"a" * 8000)


ENDLESS = {
    "headers": (POST, headers),
    "small headers": (POST, lambda: itertools.repeat(b"A:b\r\n" * 1000)),
    "header": (POST + b"X: ", text),
    "name": (POST + b"X", text),
    "request line": (b"POST /", text),
    "upgrade": (b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", headers),
    "chunk extension": (CHUNKED + b"1;x=", text),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\n", headers),
    "trailer": (CHUNKED + b"1\r\na\r\n0\r\nX: ", text),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_what_never_ends_is_cut_off(url: str, what: str) -> None:
    """The connection is closed, with status 431 where no answer is under way; others are served."""
    first, more = ENDLESS[what]
    size, answer = await sent(url, first, more())
    assert size < BUFFERED
    assert b"200 OK" not in answer
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.post(url, content=b"abc")).text == "3"


async def test_what_has_an_end_is_served(url: str) -> None:
    """Heads up to the limit, bodies of any size, as one or in many small chunks, and requests one after another."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4_000):
            yield b"a"

    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(2):
            long = {"x-long": "a" * (MAX_HEAD_BYTES - 2000)}
            assert (await http.post(url, content=b"abc", headers=long)).text == "3"
            assert (await http.post(url, content=b"a" * 3_000_000)).text == "3000000"
            assert (await http.post(url, content=chunks())).text == "4000"


async def test_too_large_a_head_is_told(url: str) -> None:
    """A client whose head is complete, and too large, gets status 431."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, headers={"x-long": "a" * 300_000})
    assert answer.status_code == 431


async def test_a_head_that_does_not_come_ends_its_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing sent, with a part of it, and with a part of the next one; a body may take its time."""
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.2)
    request = POST + b"Content-Length: 3\r\n\r\nabc"
    for first in (b"", POST, b"PO", request + POST):
        _, answer = await sent(url, first, iter(()))
        assert answer.count(b"HTTP/1.1") == first.count(request)
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    writer.write(POST + b"Content-Length: 3\r\n\r\na")
    await asyncio.sleep(0.5)  # longer than a head may take
    writer.write(b"bc")
    async with asyncio.timeout(30):
        assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


@pytest.mark.parametrize("what", ENDLESS)
async def test_the_platform_server_cuts_it_off_too(what: str) -> None:
    """hypercorn has a limit for each of these, or ends the connection."""
    first, more = ENDLESS[what]
    async with serving(app()) as url:
        size, answer = await sent(url, first, more())
        assert size < BUFFERED
        assert b" 200 " not in answer
