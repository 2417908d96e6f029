"""Following runs by server-sent events, and what becomes of those who follow when the server ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import strawberry

from gqlplugin.asgi import create_asgi
from gqlplugin.errors import UnauthenticatedError
from gqlplugin.graphql.schema import create_schema
from gqlplugin.graphql.subscriptions import ServerStop, wants_stream
from gqlplugin.identity import User
from gqlplugin.platform.base import current_binding
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus
from gqlplugin.testing import MemoryPlatform
from tests.abandoned import Failing, nothing_reported
from tests.contract.support import in_status
from tests.graphql.live import (
    PATIENCE_SECONDS,
    SUBSCRIPTION,
    Director,
    brief,
    connected,
    directed_app,
    events_of,
    graphql_served,
    streamed,
)
from tests.graphql.shop import SECRET

pytestmark = pytest.mark.anyio

QUERY = "query Of($id: ID!) { workflowRun(id: $id) { status } }"


def authenticate(request: object) -> User:
    headers = getattr(request, "headers", {})
    if "x-refused" in headers:
        raise UnauthenticatedError
    return User(id="ann", type="user")


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def who(self) -> AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0.001)
            yield current_binding().user.id
        raise RuntimeError(SECRET)


@pytest.fixture
def director() -> Director:
    return Director()


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


@pytest.fixture
async def url(director: Director, platform: MemoryPlatform) -> AsyncIterator[str]:
    app = directed_app(director)
    asgi = create_asgi(app, platform, schema=create_schema(app, subscription=Subscription), authenticate=authenticate)
    async with graphql_served(asgi) as url, asyncio.timeout(60):
        yield url


async def test_a_run_is_followed_by_events(url: str, director: Director, platform: MemoryPlatform) -> None:
    """`next` for each update and `complete` at the end, in a stream that nothing on the way keeps or changes."""
    run_id = await platform.start_workflow("directed", "null", caller=User())
    lines: list[str] = []
    async with streamed(url, SUBSCRIPTION, {"id": run_id}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        events = events_of(response)
        name, first = await anext(events)
        assert (name, first["data"]["workflowRunUpdates"]["changes"]) == ("next", [])
        await director.tell("log", "one")
        await director.tell("end")
        names = []
        async for name, data in events:
            names.append(name)
            if name == "complete":
                assert data is None
                break
            assert "errors" not in data
            lines += brief(data["data"]["workflowRunUpdates"])
    assert names == ["next"] * (len(names) - 1) + ["complete"]
    assert lines[-2:] == ["main-job ends: SUCCESS", "SUCCESS"]
    assert "main-job: one" in lines


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (SUBSCRIPTION, "NOT_FOUND"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
    ],
)
async def test_what_is_wrong_with_an_operation_is_an_event(url: str, query: str, code: str) -> None:
    """One `next` with errors, then `complete`, as the protocol has it."""
    async with streamed(url, query, {"id": "x"}) as response:
        assert response.status_code == 200
        (first, data), last = [event async for event in events_of(response)]
    assert (first, last) == ("next", ("complete", None))
    assert [error["extensions"]["code"] for error in data["errors"]] == [code]


async def test_what_breaks_in_the_middle_is_masked(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The binding lasts to the end of a stream, and an error says no more than that there was one."""
    async with streamed(url, "subscription { who }") as response:
        text = (await response.aread()).decode()
    assert text.count('"who":"ann"') == 2
    assert '"message":"Internal error"' in text
    assert "event: complete" in text
    assert SECRET not in text
    caplog.clear()


async def test_a_request_that_is_refused_is_no_stream(url: str) -> None:
    """401, 415 and 405 come as ever, in JSON."""
    async with streamed(url, SUBSCRIPTION, {"id": "x"}, **{"x-refused": "1"}) as response:
        assert response.status_code == 401
        assert (await response.aread()).startswith(b'{"errors":')
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
        accept = {"accept": "text/event-stream"}
        assert (await http.get(url, params={"query": "subscription { who }"}, headers=accept)).status_code == 405
        assert (await http.post(url, content=b"x", headers=accept)).status_code == 415


async def test_a_subscription_without_a_stream_is_refused(url: str) -> None:
    """Plain JSON can't carry one."""
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
        response = await http.post(url, json={"query": "subscription { who }"})
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        ("text/event-stream", QUERY, True),
        ("text/event-stream", None, True),
        ("Text/Event-Stream; charset=utf-8", SUBSCRIPTION, True),
        ("application/json, text/event-stream", SUBSCRIPTION, True),
        ("application/json, text/event-stream", QUERY, False),
        ("application/graphql-response+json, text/event-stream;q=0.5", QUERY, False),
        ("*/*", SUBSCRIPTION, False),
        ("application/json", SUBSCRIPTION, False),
        ("", SUBSCRIPTION, False),
    ],
)
def test_a_client_gets_what_it_can_read(accept: str, query: str | None, expected: bool) -> None:
    """A stream for who accepts nothing else, or accepts both and subscribes."""
    assert wants_stream(accept, query) is expected


async def test_a_query_may_be_answered_by_an_event(url: str) -> None:
    """Who accepts a stream alone gets one for a query as well."""
    async with streamed(url, "{ __typename }") as response:
        assert [event async for event in events_of(response)] == [
            ("next", {"data": {"__typename": "Query"}}),
            ("complete", None),
        ]


async def test_leaving_a_stream_ends_what_is_done_for_it(
    url: str, director: Director, platform: MemoryPlatform
) -> None:
    """When the last one who follows a run hangs up, it is watched no more."""
    run_id = await platform.start_workflow("directed", "null", caller=User())

    def tasks() -> int:
        return sum("_Hub" in repr(task) for task in asyncio.all_tasks())

    async with streamed(url, SUBSCRIPTION, {"id": run_id}) as response:
        await anext(events_of(response))
        assert tasks() == 1
    async with asyncio.timeout(PATIENCE_SECONDS):
        while tasks():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
    await director.tell("end")


SERVER = """
import contextlib, sys, uvicorn
from gqlplugin.asgi import create_asgi
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.graphql.live import Director, directed_app
asgi = create_asgi(directed_app(Director()), EmbeddedPlatform(sys.argv[1]), execute=False)
config = uvicorn.Config(asgi, port=0, log_level="info", access_log=False)
with contextlib.suppress(KeyboardInterrupt):  # the signal again, once all is done
    uvicorn.Server(config).run()
"""


async def test_a_server_that_is_told_to_end_does_so_at_once(tmp_path: Path) -> None:
    """Ctrl-C with subscriptions open, by either transport: they are cut, so that clients come back, and it ends."""
    path = tmp_path / "runs.sqlite"
    async with EmbeddedPlatform(path) as platform, asyncio.timeout(60):
        run_id = await platform.start_workflow("directed", "null", caller=User())
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, str(path), stderr=asyncio.subprocess.PIPE
        )
        try:
            assert process.stderr is not None
            log = ""
            while "Uvicorn running on " not in log:
                log = (await process.stderr.readline()).decode()
                assert log
            url = log.partition("running on ")[2].partition(" ")[0] + "/graphql"
            async with (
                connected(url) as socket,
                streamed(url, SUBSCRIPTION, {"id": run_id}) as response,
            ):
                updates, events = socket.follow(run_id), events_of(response)
                assert (await anext(updates))["run"]["status"] == "PENDING"
                assert (await anext(events))[0] == "next"
                process.send_signal(signal.SIGINT)
                rest = [event async for event in events]
                assert rest == []
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await socket.connection.wait_closed()
                    left = (await process.stderr.read()).decode()
            await process.wait()
            assert socket.connection.close_code == 1012
            assert "Traceback" not in left
            assert "ERROR" not in left
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (await in_status(platform, run_id, ExecutionStatus.PENDING)).id == run_id


async def test_a_stream_that_fails_as_its_client_leaves_is_not_reported() -> None:
    """Nobody is left to be told."""
    failing = Failing()

    async def chunks() -> AsyncIterator[str]:
        yield "begun"
        await failing()

    with nothing_reported():
        stream = ServerStop().until(chunks())
        await anext(stream)
        await failing.fail_while_cancelling(asyncio.ensure_future(anext(stream)))
        del stream
