"""Exactly once, from the client's side: whatever is lost on the way, a request that is sent again is one run."""

import asyncio
import json
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus
from tests.contract.support import ended, until
from tests.faults.app import started

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 60.0
REQUESTS = 100
CUT = 20


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that takes connections from now on, for a server that may come later."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        yield listener


@asynccontextmanager
async def serving(path: Path, listener: socket.socket, *marker: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server on a socket, killed at the end."""
    descriptor = listener.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.graphql_server",
        str(path),
        str(descriptor),
        *map(str, marker),
        pass_fds=[descriptor],
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def client(listener: socket.socket) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=PATIENCE_SECONDS, trust_env=False
    )


def body(number: int) -> dict[str, Any]:
    return {"query": "mutation ($number: Int!) { start(number: $number) }", "variables": {"number": number}}


async def ask(http: httpx.AsyncClient, number: int, key: str) -> Any:
    """The body of the answer."""
    return (await http.post("/graphql", json=body(number), headers={"idempotency-key": key})).json()


async def test_a_hundred_requests_at_once_to_two_processes_are_one_run(tmp_path: Path) -> None:
    """Two servers on one file, fifty requests to each with one key: a hundred equal answers, one of them the first."""
    path = tmp_path / "journal.sqlite"
    with listening() as one, listening() as two:
        async with serving(path, one), serving(path, two), client(one) as http, client(two) as other:
            await asyncio.gather(*(each.post("/graphql", json={"query": "{ appName }"}) for each in (http, other)))
            answers = await asyncio.gather(*(ask(each, 7, "k") for _ in range(REQUESTS // 2) for each in (http, other)))
            async with EmbeddedPlatform(path) as journal:
                assert await started(journal) == Counter({7: 1})
                run = await ended(journal, answers[0]["data"]["start"])
                assert run.status is ExecutionStatus.SUCCESS
    assert [answer["data"] for answer in answers] == [{"start": run.id}] * REQUESTS
    replayed = [answer["extensions"]["idempotency"][0]["replayed"] for answer in answers]
    assert Counter(replayed) == Counter({True: REQUESTS - 1, False: 1})


async def test_an_answer_that_died_with_its_server_is_given_by_the_next_one(tmp_path: Path) -> None:
    """The server is killed between the commit and the answer: the retry is told of the run that was started."""
    path = tmp_path / "journal.sqlite"
    with listening() as listener:
        async with serving(path, listener, tmp_path / "marker") as process, client(listener) as http:
            with pytest.raises(httpx.TransportError):
                await ask(http, 7, "k")
            assert await process.wait() == -9
        async with EmbeddedPlatform(path) as journal:
            assert await started(journal) == Counter({7: 1})
        async with serving(path, listener), client(listener) as http:
            answer = await ask(http, 7, "k")
            async with EmbeddedPlatform(path) as journal:
                assert await started(journal) == Counter({7: 1})
                assert (await ended(journal, answer["data"]["start"])).status is ExecutionStatus.SUCCESS
    assert answer["extensions"]["idempotency"] == [{"path": ["start"], "applied": True, "replayed": True}]


async def test_clients_that_hang_up_and_ask_again_have_one_run_each(tmp_path: Path) -> None:
    """Connections that are cut once the request is sent: the retry finds its run, started before or by itself."""
    path = tmp_path / "journal.sqlite"
    with listening() as listener:
        async with serving(path, listener), client(listener) as http:
            await http.post("/graphql", json={"query": "{ appName }"})
            for number in range(CUT):
                await hang_up(listener, number)
            async with EmbeddedPlatform(path) as journal:

                async def all_started() -> bool:
                    return len(await started(journal)) == CUT

                await until(all_started)  # a mutation goes on when its client is gone
                answers = [await ask(http, number, f"key-{number}") for number in range(CUT)]
                assert await started(journal) == Counter(range(CUT))
    assert all(answer["extensions"]["idempotency"][0]["replayed"] for answer in answers)


async def hang_up(listener: socket.socket, number: int) -> None:
    """Send a request and close the connection without reading."""
    content = json.dumps(body(number)).encode()
    lines = [
        "POST /graphql HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(content)}",
        f'idempotency-key: "key-{number}"',
    ]
    _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    writer.write("\r\n".join([*lines, "", ""]).encode() + content)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_over_a_websocket_the_directive_is_the_key(tmp_path: Path) -> None:
    """An operation over `graphql-transport-ws` has its key by directive; a header of the handshake is none's key."""
    with listening() as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/graphql"
        async with serving(tmp_path / "journal.sqlite", listener), client(listener) as http:
            first = await ask(http, 7, "k")
            async with (
                connect(
                    url,
                    subprotocols=[Subprotocol("graphql-transport-ws")],
                    additional_headers={"idempotency-key": "k"},
                    open_timeout=PATIENCE_SECONDS,
                    proxy=None,
                ) as websocket,
                asyncio.timeout(PATIENCE_SECONDS),
            ):
                await websocket.send('{"type": "connection_init"}')
                assert json.loads(await websocket.recv())["type"] == "connection_ack"
                answers = []
                for number, directive in enumerate(("", "", '@idempotent(key: "k")')):
                    payload = {"query": f"mutation {{ start(number: 7) {directive} }}"}
                    await websocket.send(json.dumps({"id": str(number), "type": "subscribe", "payload": payload}))
                    answers.append(json.loads(await websocket.recv())["payload"])
                    assert json.loads(await websocket.recv())["type"] == "complete"
    assert len({first["data"]["start"], *(answer["data"]["start"] for answer in answers)}) == 3
    assert ["extensions" in answer for answer in answers] == [False, False, True]
    assert answers[2]["data"] == first["data"]
    assert answers[2]["extensions"]["idempotency"] == [{"path": ["start"], "applied": True, "replayed": True}]
