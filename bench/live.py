"""(l): subscriptions to a run, against bare Strawberry ones that are pushed to from a queue, in the same server.

The time from a job's call to a client has two shapes: a line of a job that goes on is written within 50 ms, with what
else comes by then; what a job did that ends is written at once.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import websockets

from bench.files import fresh
from bench.live_server import PAUSE_SECONDS
from bench.table import Row

_PATIENCE_SECONDS = 60.0
_TIME = re.compile(r"at (\d+\.\d+)")
_BARE = "subscription { times }"
_OURS = """subscription ($id: ID!) { workflowRunUpdates(id: $id) { cursor changes {
  ... on WorkflowJobLogLine { line } ... on WorkflowJobEnd { job { status } } } } }"""


@contextmanager
def serving(journal: Path) -> Iterator[str]:
    """A server; yields its address."""
    command = [sys.executable, "-m", "bench.live_server", str(fresh(journal))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def rows(directory: Path, *, watchers: Sequence[int], messages: int) -> list[Row]:
    """Measure both.

    Args:
        directory: On the disk to measure.
        watchers: How many follow at once.
        messages: How many each of them gets.
    """
    with serving(directory / "live.sqlite") as address:
        return asyncio.run(_rows(address, watchers, messages))


async def _rows(address: str, watchers: Sequence[int], messages: int) -> list[Row]:
    table: list[Row] = []
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=_PATIENCE_SECONDS) as http:
        await _measure(address, http, 10, 2, by_jobs=True)  # which does not count
        for count in watchers:
            whom = f"{count} watcher{'s' * (count > 1)}"
            bare_rate, bare = await _measure(address, http, count, messages, by_jobs=None)
            rate, ends = await _measure(address, http, count, messages, by_jobs=True)
            _, lines = await _measure(address, http, count, messages, by_jobs=False)
            table.append(Row(f"(l) subscriptions opened, {whom}", rate, bare_rate, "/s"))
            for what, ours in (("a job's end", ends), ("a line of a job that goes on", lines)):
                for name, index in (("p50", 49), ("p99", 98)):
                    both = [statistics.quantiles(one, n=100)[index] for one in (ours, bare)]
                    table.append(Row(f"    {what} to {whom}, {name}", both[0], both[1], "ms"))
    return table


async def _measure(
    address: str, http: httpx.AsyncClient, watchers: int, messages: int, *, by_jobs: bool | None
) -> tuple[float, list[float]]:
    """How many subscriptions were opened per second, and how long messages took, in milliseconds; None is the peer."""
    run_id = ""
    if by_jobs is not None:
        run_id = (await http.post("/begin", params={"count": messages, "jobs": "1" if by_jobs else ""})).text
    path, query = ("bare", _BARE) if by_jobs is None else ("graphql", _OURS)
    async with AsyncExitStack() as stack:
        began = time.perf_counter()
        opening = [_open(stack, f"ws://{address}/{path}", query, run_id) for _ in range(watchers)]
        connections = await asyncio.gather(*opening)
        rate = watchers / (time.perf_counter() - began)
        reading = [asyncio.create_task(_read(one, messages)) for one in connections]
        await http.post("/go", params={"run": run_id, "count": messages})
        async with asyncio.timeout(_PATIENCE_SECONDS + messages * PAUSE_SECONDS):
            delays = [delay for one in await asyncio.gather(*reading) for delay in one]
    return rate, delays


async def _open(stack: AsyncExitStack, url: str, query: str, run_id: str) -> websockets.ClientConnection:
    """A connection whose subscription has brought its first message."""
    protocol: Any = ["graphql-transport-ws"]
    options: Any = {"compression": None, "open_timeout": _PATIENCE_SECONDS}
    connection = await stack.enter_async_context(websockets.connect(url, subprotocols=protocol, **options))
    await connection.send(json.dumps({"type": "connection_init"}))
    await connection.recv()
    payload = {"query": query, "variables": {"id": run_id} if run_id else {}}
    await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
    first = json.loads(await connection.recv())
    if first["type"] != "next" or "errors" in first["payload"]:
        raise RuntimeError(f"The subscription was refused: {first}")
    return connection


async def _read(connection: websockets.ClientConnection, messages: int) -> list[float]:
    """How long each message took, from the time that it tells, in milliseconds."""
    delays: list[float] = []
    while len(delays) < messages:
        text = await connection.recv()
        now = time.time()
        delays += [(now - float(told)) * 1e3 for told in _TIME.findall(str(text))]
    return delays
