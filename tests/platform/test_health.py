"""The route for probes: it says whether runs can be started, and nothing else."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi, health_routes
from gqlplugin.authentication.callers import AuthRequest
from gqlplugin.errors import PlatformUnavailableError, SetupError
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.testing import MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.contract.support import until

pytestmark = pytest.mark.anyio


@create_workflow_job(name="echo-job")
async def echo(input: str) -> str:
    return input


app = define_app("health", workflows=[create_workflow(name="echoing", main_job=echo)])


class AskedPlatform(MemoryPlatform):
    """Counts how often it is asked, and has the health that it is told to have."""

    asked = 0
    error: Exception | None = None

    async def check_health(self) -> None:
        self.asked += 1
        await super().check_health()
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def client_of(asgi: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client, without the lifespan."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://testserver") as http:
        yield http


async def test_a_server_that_runs_is_ok() -> None:
    """GET and HEAD are answered without authentication, and not to be cached."""
    async with serve(create_asgi(app, MemoryPlatform(), authenticate=refuse)) as client:
        response = await client.http.get("/healthz")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        assert response.headers["cache-control"] == "no-store"
        assert (await client.http.head("/healthz")).status_code == 200
        assert (await client.http.post("/healthz")).status_code == 405


def refuse(_: AuthRequest) -> User:
    raise AssertionError


@pytest.mark.parametrize(
    "error", [PlatformUnavailableError("/secret/path"), SetupError("/secret/path"), RuntimeError("/secret/path")]
)
async def test_a_platform_that_can_not_start_runs_is_unavailable(error: Exception) -> None:
    """Whatever is wrong, the answer is 503 and tells nothing of it."""
    platform = AskedPlatform()
    platform.error = error
    async with serve(create_asgi(app, platform)) as client:
        response = await client.http.get("/healthz")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})


async def test_a_server_that_has_not_begun_is_unavailable() -> None:
    """Before its lifespan has begun, a server can't start anything."""
    async with client_of(create_asgi(app, MemoryPlatform())) as http:
        assert (await http.get("/healthz")).status_code == 503


async def test_many_probes_ask_once() -> None:
    """However many ask at once, the platform is asked once a second."""
    platform = AskedPlatform()
    async with serve(create_asgi(app, platform)) as client:
        answers = await asyncio.gather(*(client.http.get("/healthz") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert platform.asked == 1

        async def asked_again() -> bool:
            await client.http.get("/healthz")
            return platform.asked == 2

        await until(asked_again)


async def test_the_route_can_be_moved_left_out_and_replaced() -> None:
    """`health_path` says where it is; a route of the user's at the same path is served instead."""
    own = Route("/healthz", lambda _: PlainTextResponse("my own"))
    moved = create_asgi(app, MemoryPlatform(), health_path="/ready")
    async with serve(moved) as client:
        assert (await client.http.get("/ready")).status_code == 200
        assert (await client.http.get("/healthz")).status_code == 404
    async with serve(create_asgi(app, MemoryPlatform(), health_path=None)) as client:
        assert (await client.http.get("/healthz")).status_code == 404
    async with serve(create_asgi(app, MemoryPlatform(), routes=[own])) as client:
        assert (await client.http.get("/healthz")).text == "my own"


async def test_a_journal_that_can_not_be_written_and_can_again(tmp_path: Path) -> None:
    """The route follows the file: locked by somebody else, and free again. Probes write nothing to it."""
    path = tmp_path / "journal.sqlite"
    platform = EmbeddedPlatform(path)
    asgi = Starlette(routes=health_routes(platform))
    async with platform, client_of(asgi) as http:

        async def answers(status: int) -> bool:
            return (await http.get("/healthz")).status_code == status

        await until(lambda: answers(200))
        written = os.stat(f"{path}-wal").st_size  # noqa: PTH116 - of a file of this machine
        for _ in range(3):
            await platform.check_health()
        assert os.stat(f"{path}-wal").st_size == written  # noqa: PTH116 - as above
        journal, _ = platform._entering.opened()
        await journal.writer.call(lambda connection: connection.execute("PRAGMA busy_timeout = 50").fetchone())
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(PlatformUnavailableError):
                await journal.writer.call(lambda _: None)
            await until(lambda: answers(503))
        await until(lambda: answers(200))


async def test_the_health_of_a_remote_platform() -> None:
    """A client of the Tailor contract is well while its server is, and takes its token."""
    token = "a-token-of-enough-characters"  # noqa: S105 - of this test
    server = create_server(app, MemoryPlatform(), token=token)
    async with serve(server) as client:
        assert (await client.http.get("/healthz")).json() == {"status": "ok"}
        for given, status in ((token, 200), ("another-token-of-enough-characters", 503)):
            platform = TailorPlatform(
                "http://localhost",
                workspace_id="9b1b3f6e-7d2f-4c8a-9d50-3f6f0e3f8a11",
                token=given,
                transport=httpx.ASGITransport(server),
            )
            async with platform, client_of(Starlette(routes=health_routes(platform))) as http:
                assert (await http.get("/healthz")).status_code == status
