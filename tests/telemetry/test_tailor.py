"""Runs that start through a platform server are in the trace of who started them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from gqlplugin.app import define_app
from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended
from tests.loopback import TOKEN, WORKSPACE, free_port, serving
from tests.telemetry.support import Metrics, Spans, attributes_of, has_failed, id_of

pytestmark = pytest.mark.anyio


@create_workflow_job(name="served-job")
async def served_job(text: str) -> str:
    return text


served = create_workflow(name="served-run", main_job=served_job)
app = define_app("served", workflows=[served])


class Recording:
    """Remembers the headers of requests."""

    def __init__(self, asgi: ASGIApp) -> None:
        self.headers: list[dict[bytes, bytes]] = []
        self._asgi = asgi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.headers.append(dict(scope["headers"]))
        await self._asgi(scope, receive, send)


@pytest.fixture
def server(tmp_path: Path) -> Recording:
    """A server of the embedded platform."""
    return Recording(create_server(app, EmbeddedPlatform(tmp_path / "runs.sqlite"), token=TOKEN))


@asynccontextmanager
async def connected(server: Recording) -> AsyncIterator[TailorPlatform]:
    """A client of the server, over HTTP on loopback."""
    async with (
        serving(server) as url,
        TailorPlatform(url, token=TOKEN, workspace_id=WORKSPACE) as platform,
        platform.execute(app),
    ):
        yield platform


async def test_the_trace_goes_over_http(server: Recording, spans: Spans) -> None:
    """The run is below the start of the client, and the server makes no other."""
    async with connected(server) as platform:
        with spans.tracer.start_as_current_span("request"):
            run_ids = [await served.trigger("s3cr3t"), *await served.trigger_many(["s3cr3t"])]
        for run_id in run_ids:
            await ended(platform, run_id)
    assert spans.trees() == [{"request": {"start served-run": {"run served-run": {"job served-job": {}}}}}]
    first, second = spans.named("start served-run")
    assert [run.parent and run.parent.span_id for run in spans.named("run served-run")] == [id_of(first), id_of(second)]
    assert attributes_of(first)["gqlplugin.run.id"] == run_ids[0]
    assert not any(word in "".join(span.to_json() for span in spans.all) for word in ("s3cr3t", TOKEN))


async def test_nothing_is_sent_without_a_trace(server: Recording) -> None:
    """Where nobody traces, requests have no headers of a trace."""
    async with connected(server) as platform:
        await ended(platform, await served.trigger("x"))
    assert server.headers
    assert not any(b"traceparent" in headers or b"tracestate" in headers for headers in server.headers)


async def test_a_client_that_only_has_the_trace_passes_it_on(server: Recording, spans: Spans) -> None:
    """Headers are what a client of any kind sends: the run goes on in its trace; without the token they do nothing."""
    sent = {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01", "content-type": "application/json"}
    async with connected(server) as platform, httpx.AsyncClient(trust_env=False) as http:
        session = platform._entering.opened()
        workflow_id = await session.starts._ids.find("served-run")
        for token, status in (("no-token-of-ours", 401), (TOKEN, 200)):
            answer = await http.post(
                f"{session.url}/tailor.v1.OperatorService/TestStartWorkflow",
                json={"workspaceId": WORKSPACE, "workflowId": workflow_id, "arg": '"x"'},
                headers={**sent, "authorization": f"Bearer {token}"},
            )
            assert answer.status_code == status
        await ended(platform, answer.json()["executionId"])
    run = spans.one("run served-run")
    assert run.parent is not None
    assert (run.parent.trace_id, run.parent.span_id) == (0xABC, 0xDEF)


async def test_a_start_that_is_lost_is_told(spans: Spans, metrics: Metrics) -> None:
    """What can't be started is a failed start, and counted by its code; neither URL nor token is told."""

    async with TailorPlatform(f"http://127.0.0.1:{free_port()}", token=TOKEN, workspace_id=WORKSPACE):
        with pytest.raises(PlatformUnavailableError):
            await served.trigger("x")
    start = spans.one("start served-run")
    assert has_failed(start)
    assert attributes_of(start) == {
        "gqlplugin.workflow.name": "served-run",
        "error.type": "PLATFORM_UNAVAILABLE",
    }
    assert metrics.counts("gqlplugin.triggers") == {("PLATFORM_UNAVAILABLE", "served-run"): 1}
    assert not any(word in start.to_json() for word in ("127.0.0.1", TOKEN))
