"""Over HTTP, as uvicorn serves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import httpx
import pytest

from gqlplugin.asgi import create_asgi
from gqlplugin.testing import MemoryPlatform
from tests.loopback import uvicorn_serving
from tests.webhooks.support import PATH_NEW, define_hooks, firings, signed, signed_json

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024


@asynccontextmanager
async def _served(platform: MemoryPlatform, http: Literal["httptools", "h11"]) -> AsyncIterator[httpx.AsyncClient]:
    asgi = create_asgi(define_hooks(), platform, execute=False)
    async with uvicorn_serving(asgi, http=http) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        yield client


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_kilobytes() -> int:
    """The most memory that this process has taken since it was last forgotten."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_requests_are_served(platform: MemoryPlatform, http: Literal["httptools", "h11"]) -> None:
    """Signed and with a secret in the path, over a connection that is kept."""
    async with _served(platform, http) as client:
        assert (await client.post("/webhooks/signed", **signed_json({"a": 1}))).status_code == 204
        assert (await client.post(f"/webhooks/by-path/{PATH_NEW}", content="x")).status_code == 204
        assert (await client.post("/webhooks/signed", content="x", headers=signed("y"))).status_code == 404
        assert len(await firings(platform, "signed")) == len(await firings(platform, "by-path")) == 1


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize(
    "path", [f"/webhooks/by-path/{PATH_NEW}/", "/webhooks/by-path/a-guess-at-it", "/webhooks/nobody/a-guess-at-it"]
)
async def test_the_access_log_has_no_secret(
    platform: MemoryPlatform, caplog: pytest.LogCaptureFixture, path: str, http: Literal["httptools", "h11"]
) -> None:
    """Uvicorn writes the path of each request to it: ours without what stands for a secret, right or wrong."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    async with _served(platform, http) as client:
        await client.post(path)
        await client.post(path.rstrip("/") + "?a=1")
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert len(lines) == 2
    assert "/redacted" in lines[0]
    assert "/redacted?a=1" in lines[1]
    assert not any(PATH_NEW in line or "a-guess-at-it" in line for line in lines)


async def _hundred_megabytes() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield b"x" * MEGABYTE


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/webhooks/signed", 413),
        ("/webhooks/nobody", 413),
        (f"/webhooks/by-path/{PATH_NEW}", 413),
        ("/webhooks/by-path/a-guess-at-it", 404),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells how much memory was taken")
async def test_a_huge_body_is_not_kept(platform: MemoryPlatform, path: str, status: int, announced: bool) -> None:
    """It is refused at the limit, whether its length is announced or not, and the server's memory hardly grows."""
    headers = {"content-length": str(100 * MEGABYTE)} if announced else {}
    async with _served(platform, "httptools") as client:
        await client.post("/webhooks/nobody")
        _forget_peak()
        before = _peak_kilobytes()
        async with asyncio.timeout(60):
            with suppress(httpx.WriteError):
                response = await client.post(path, content=_hundred_megabytes(), headers=headers)
                assert response.status_code == status
        grown = _peak_kilobytes() - before
        assert (await client.post("/webhooks/signed", **signed_json(1))).status_code == 204
    assert grown < 16 * 1024  # kilobytes; client and server are this process


async def test_a_client_that_hangs_up_starts_nothing(platform: MemoryPlatform) -> None:
    """A body that was announced and did not come is no request."""
    async with _served(platform, "httptools") as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        head = f"POST /webhooks/by-path/{PATH_NEW} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf"
        writer.write(head.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        del reader
        # served after it, on one event loop
        assert (await client.post("/webhooks/signed", **signed_json(1))).status_code == 204
        assert not await firings(platform, "by-path")
