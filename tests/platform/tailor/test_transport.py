"""Calls: what is sent, what is read, what is tried again, and what callers are told when it goes wrong."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from gqlplugin.errors import (
    FailedPreconditionError,
    ForbiddenError,
    GqlpluginError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformUnavailableError,
    UnsupportedError,
)
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.platform.tailor.exchange import MAX_ANSWER_BYTES
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.testing import MemoryPlatform
from tests.contract.support import ALICE, EVERYTHING, app_of
from tests.loopback import serving
from tests.own_time import in_own_time, running_loop
from tests.platform.embedded.support import no_descriptors
from tests.platform.tailor.fake import RUN, STATUS, TOKEN, WORKFLOW, WORKSPACE, FakeTailor, connect_error, html, run

pytestmark = pytest.mark.anyio

PUBLIC: dict[str, type[GqlpluginError]] = {
    "invalid_argument": InvalidInputError,
    "out_of_range": InvalidInputError,
    "not_found": NotFoundError,
    "failed_precondition": FailedPreconditionError,
    "permission_denied": ForbiddenError,
    "unauthenticated": PlatformCredentialsError,
    "already_exists": IdempotencyKeyReusedError,
    "unimplemented": UnsupportedError,
}


@in_own_time
async def test_a_call_has_the_headers_of_the_contract(fake: FakeTailor) -> None:
    """JSON over Connect with the token, our name, and how long we wait."""
    async with fake.platform() as platform:
        await platform.list_workflows()
    headers = fake.received[0].headers
    assert headers["content-type"] == "application/json"
    assert headers["connect-protocol-version"] == "1"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["user-agent"].startswith("gqlplugin/")
    assert headers["connect-timeout-ms"] == "30000"


@pytest.mark.parametrize("code", STATUS)
async def test_a_foreign_servers_words_stay_with_operators(fake: FakeTailor, code: str) -> None:
    """Each code is an error of ours with a sentence of ours; the code and the words are its cause."""
    fake.on["ListWorkflows"] = lambda _: connect_error(code, f"secret\nwords {TOKEN}")
    async with fake.platform() as platform:
        with pytest.raises(GqlpluginError) as caught:
            await platform.list_workflows()
    assert type(caught.value) is PUBLIC.get(code, PlatformUnavailableError)
    assert "secret" not in str(caught.value)
    assert str(caught.value.__cause__) == f"{code} (HTTP {STATUS[code]}): secret words ***"


@pytest.mark.parametrize("code", STATUS)
async def test_gqlplugins_own_server_may_speak_to_callers(fake: FakeTailor, code: str) -> None:
    """What gqlplugin's server says of a request is written for callers; what went wrong inside it is not."""
    fake.extensions = True
    fake.on["ListWorkflows"] = lambda _: connect_error(code)
    async with fake.platform() as platform:
        with pytest.raises(PUBLIC.get(code, PlatformUnavailableError)) as caught:
            await platform.list_workflows()
    assert (str(caught.value) == "the server's own words") is (code in PUBLIC and code != "unauthenticated")


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (400, PlatformUnavailableError, 3),
        (401, PlatformCredentialsError, 1),
        (403, ForbiddenError, 1),
        (404, UnsupportedError, 1),
        (429, PlatformUnavailableError, 3),
        (500, PlatformUnavailableError, 1),
        (502, PlatformUnavailableError, 3),
        (503, PlatformUnavailableError, 3),
        (504, PlatformUnavailableError, 3),
        (302, PlatformUnavailableError, 1),
        (418, PlatformUnavailableError, 1),
    ],
)
async def test_an_error_page_is_read_by_its_status(
    fake: FakeTailor, status: int, kind: type[GqlpluginError], tries: int
) -> None:
    """What is no Connect error comes from something in between (TAILOR.md section 1), even before our own server."""
    fake.extensions = True
    fake.on["ListWorkflows"] = lambda _: html(status)
    async with fake.platform() as platform:
        with pytest.raises(kind) as caught:
            await platform.list_workflows()
    assert "html" not in str(caught.value)
    assert "html" in str(caught.value.__cause__)
    assert len(fake.received) == tries


@pytest.mark.parametrize("body", [{"code": "not_found"}, {"code": "no_such_code", "message": "x"}, {"code": 5}, [], 1])
async def test_an_odd_error_body_is_read_leniently(fake: FakeTailor, body: Any) -> None:
    """A Connect error needs no message; one with an unknown code counts by its HTTP status."""
    fake.on["GetWorkflowByName"] = lambda _: JSONResponse(body, 404)
    async with fake.platform() as platform:
        with pytest.raises(NotFoundError if body == {"code": "not_found"} else UnsupportedError):
            await platform.get_workflow("order-processing")


@pytest.mark.parametrize("code", ["unavailable", "internal", "resource_exhausted"])
async def test_a_read_is_tried_three_times(fake: FakeTailor, code: str) -> None:
    """A read that fails for a passing reason is sent again, twice."""
    fake.queue("ListWorkflows", connect_error(code), connect_error(code))
    async with fake.platform() as platform:
        assert await platform.list_workflows() == []
    assert len(fake.received) == 3


@pytest.mark.parametrize("code", sorted(STATUS.keys() - {"unavailable", "internal", "resource_exhausted"}))
async def test_other_errors_are_not_tried_again(fake: FakeTailor, code: str) -> None:
    """What will fail again is asked once."""
    fake.on["ListWorkflows"] = lambda _: connect_error(code)
    async with fake.platform() as platform:
        with pytest.raises(GqlpluginError):
            await platform.list_workflows()
    assert len(fake.received) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Response("{", media_type="application/json"),
        html(200),
        JSONResponse([]),
        JSONResponse({"workflows": [{"id": 1}]}),
        JSONResponse({"workflows": [{"id": "1", "name": "x", "createdAt": "yesterday"}]}),
        Response("[" * 200_000),
        Response(b"\xff\xfe"),
    ],
    ids=range(7),
)
async def test_an_answer_that_makes_no_sense_is_unavailability(fake: FakeTailor, answer: Response) -> None:
    """A malformed answer is the platform's fault, told in our words."""
    fake.queue("ListWorkflows", answer)
    async with fake.platform() as platform:
        with pytest.raises(PlatformUnavailableError) as caught:
            await platform.list_workflows()
    assert "ListWorkflowsAnswer" in str(caught.value.__cause__)


async def test_an_answer_may_be_newer_than_we_are(fake: FakeTailor) -> None:
    """Unknown fields, nulls, proto names, numbers as text and nanoseconds are all read."""
    fake.on["GetWorkflowByName"] = lambda _: {
        "brandNew": 1,
        "workflow": {
            "id": WORKFLOW,
            "name": "order-processing",
            "main_job_function_name": "process-order",
            "jobFunctions": {"process-order": "9007199254740993"},
            "createdAt": "2026-01-02T03:04:05.123456789Z",
            "updatedAt": None,
            "retryPolicy": {"maxRetries": 3},
        },
    }
    async with fake.platform() as platform:
        found = await platform.get_workflow("order-processing")
    assert found.main_job == "process-order"
    assert found.job_functions == ("process-order",)
    assert found.created_at is not None
    assert found.created_at.isoformat() == "2026-01-02T03:04:05.123456+00:00"
    assert found.updated_at is None


async def test_a_redirect_is_not_followed(fake: FakeTailor) -> None:
    """The token goes nowhere else than to the URL that was given."""
    fake.queue("ListWorkflows", Response(status_code=307, headers={"location": "http://elsewhere.test/"}))
    async with fake.platform() as platform:
        with pytest.raises(PlatformUnavailableError):
            await platform.list_workflows()
    assert len(fake.received) == 1


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
async def test_an_endless_answer_is_cut_off(headers: dict[str, str]) -> None:
    """A broken server can't fill our memory, be it with a compressed answer."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1024 * 1024

    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=endless()))
    async with client("http://tailor.test", transport=transport) as platform:
        with pytest.raises(PlatformUnavailableError):
            await platform.list_workflows()
    assert sent <= MAX_ANSWER_BYTES // 1024**2 + 1


@in_own_time
async def test_a_slow_read_ends_in_time(fake: FakeTailor) -> None:
    """A server that never answers is given up after the time-out, all tries together."""
    fake.slow["ListWorkflows"] = asyncio.Event()
    async with fake.platform(timeout=timedelta(milliseconds=100)) as platform:
        with pytest.raises(PlatformUnavailableError) as caught:
            await platform.list_workflows()
        assert running_loop().time() == pytest.approx(0.1)
    assert "0.1 s" in str(caught.value.__cause__)


async def test_the_token_is_in_no_message_and_no_log(fake: FakeTailor, caplog: pytest.LogCaptureFixture) -> None:
    """A server that shows us our token does not get it into an error, a log or a traceback."""
    caplog.set_level(logging.DEBUG)
    fake.on["ListWorkflows"] = lambda _: Response(f"you said: Bearer {TOKEN}", 503)
    async with fake.platform() as platform:
        with pytest.raises(PlatformUnavailableError) as caught:
            await platform.list_workflows()
        assert TOKEN not in repr(platform) + repr(vars(platform))
    error: BaseException | None = caught.value
    while error is not None:
        assert TOKEN not in repr(error)
        error = error.__cause__ or error.__context__
    assert "you said" in caplog.text
    assert TOKEN not in caplog.text + repr([vars(record) for record in caplog.records])


async def test_operators_read_of_what_is_theirs(fake: FakeTailor, caplog: pytest.LogCaptureFixture) -> None:
    """A platform in trouble is logged as a warning, once per call; a caller's mistake is not."""
    async with fake.platform() as platform:
        caplog.clear()
        fake.on["ListWorkflows"] = lambda _: connect_error("unavailable")
        with pytest.raises(PlatformUnavailableError):
            await platform.list_workflows()
        fake.on["GetWorkflowByName"] = lambda _: connect_error("not_found")
        with pytest.raises(NotFoundError):
            await platform.get_workflow("order-processing")
    lines = [record.getMessage() for record in caplog.records if record.name == "gqlplugin.tailor"]
    assert lines == ["ListWorkflows: unavailable (HTTP 503): the server's own words"]


def client(url: str, **options: Any) -> TailorPlatform:
    return TailorPlatform(url, workspace_id=WORKSPACE, token=TOKEN, **options)


@asynccontextmanager
async def tcp_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[str]:
    """A server on loopback that speaks what it likes."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def test_a_server_that_is_not_there_can_be_asked_again() -> None:
    """Where nobody listens a start can't have been accepted: it is tried again, and then told as unavailability."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        found = b'{"executionId": "%b", "workflow": {"id": "1", "name": "x"}}' % RUN.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(found), found))
        await writer.drain()
        writer.close()

    server = tcp_server(handle)
    url = await server.__aenter__()
    async with client(url) as platform:
        await platform.start_workflow("order-processing", "1", caller=ALICE)
        await server.__aexit__(None, None, None)
        for call in (platform.resume(RUN), platform.start_workflow("order-processing", "1", caller=ALICE)):
            with pytest.raises(PlatformUnavailableError) as caught:
                await call
            assert "Connect" in str(caught.value.__cause__)


async def test_a_moment_without_descriptors_ends_with_it() -> None:
    """What can't be sent is PLATFORM_UNAVAILABLE, a start too, and the connections after that are made as ever."""

    def calls(platform: TailorPlatform) -> list[Any]:
        return [platform.list_executions(EVERYTHING, first=1) for _ in range(5)]

    async with serving(create_server(app_of(), MemoryPlatform(), token=TOKEN)) as url, client(url) as platform:
        with no_descriptors():
            answers: list[Any] = await asyncio.gather(*calls(platform), return_exceptions=True)
            with pytest.raises(PlatformUnavailableError):
                await platform.start_workflow("order-processing", "1", caller=ALICE)
        assert [type(answer) for answer in answers] == [PlatformUnavailableError] * 5
        assert [list(page.executions) for page in await asyncio.gather(*calls(platform))] == [[]] * 5


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", b"nonsense\r\n\r\n"])
async def test_a_start_whose_connection_breaks_is_lost(answer: bytes) -> None:
    """A connection that ends before the whole answer leaves the outcome unknown; a read is tried again."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method = head.split(b" ")[1].rpartition(b"/")[2].decode()
        seen.append(method)
        found = b'{"workflow": {"id": "%b", "name": "x"}}' % WORKFLOW.encode()
        if method == "GetWorkflowByName":
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(found), found))
        else:
            writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with tcp_server(handle) as url, client(url) as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.start_workflow("order-processing", "1", caller=ALICE)
        with pytest.raises(PlatformUnavailableError):
            await platform.get_execution(RUN)
    assert seen == ["GetWorkflowByName", "TestStartWorkflow"] + ["GetWorkflowExecution"] * 3


async def test_closing_the_platform_ends_a_call_that_waits() -> None:
    """A call that is under way when the platform is closed ends with an error of ours."""
    arrived = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()  # until the client hangs up
        writer.close()

    async with tcp_server(handle) as url:
        platform = client(url, timeout=timedelta(hours=1))
        async with platform, asyncio.timeout(60):
            reading = asyncio.create_task(platform.get_execution(RUN))
            await arrived.wait()
        async with asyncio.timeout(60):
            with pytest.raises(PlatformUnavailableError):
                await reading


async def test_one_connection_serves_many_calls(fake: FakeTailor) -> None:
    """Calls one after another share a connection, and it is closed with the platform."""
    connections = 0
    gone = asyncio.Event()
    body = b'{"workflows": []}'

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            try:
                await asyncio.wait_for(reader.readuntil(b"POST"), 60)
            except asyncio.IncompleteReadError:
                break
        writer.close()
        gone.set()

    async with tcp_server(handle) as url:
        async with client(url) as platform:
            for _ in range(5):
                await platform.list_workflows()
        async with asyncio.timeout(60):
            await gone.wait()
    assert connections == 1


async def test_the_runs_of_a_server_are_only_read(fake: FakeTailor) -> None:
    """A get that fails twice answers in the end, and asks for nothing but the run."""
    fake.on["GetWorkflowExecution"] = lambda _: {"execution": run()}
    fake.queue("GetWorkflowExecution", html(503), connect_error("internal"))
    async with fake.platform() as platform:
        assert (await platform.get_execution(RUN)).id == RUN
    assert [one.method for one in fake.received] == ["GetWorkflowExecution"] * 3


async def test_no_more_calls_are_under_way_than_there_may_be_connections() -> None:
    """Further calls wait for a connection, and are answered then."""
    under_way = most = 0
    body = b'{"workflows": []}'

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(20):
            await asyncio.sleep(0)  # another call would come meanwhile
        under_way -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async with tcp_server(handle) as url, client(url, max_connections=2) as platform, asyncio.timeout(60):
        await asyncio.gather(*(platform.list_workflows() for _ in range(10)))
    assert most == 2
