"""What is followed live, a process of its own: `python -m bench.live_server FILE` prints its port and serves.

Under `/graphql` a run whose jobs tell the time, under `/bare` the same from a queue, by a Strawberry schema without
gqlplugin. Both begin at `/go`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator

import strawberry
import uvicorn
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from example_app.settings import tune_garbage_collection
from gqlplugin import JobContext, create_asgi, create_workflow, create_workflow_job, define_app
from gqlplugin.identity import User
from gqlplugin.platform.embedded import EmbeddedPlatform

PAUSE_SECONDS = 0.2
"""From one message to the next: long enough for 500 clients of one process to have read the one before."""


class Plan(BaseModel):
    """What a run is to do: so many times log a line, or run a job that logs one."""

    count: int
    by_jobs: bool


_go: dict[str, asyncio.Event] = {}
_queues: set[asyncio.Queue[float]] = set()


@create_workflow_job(name="tell-time")
async def tell_time(_: int, ctx: JobContext) -> None:
    """A job that is over at once."""
    ctx.log.info("at %r", time.time())


@create_workflow_job(name="tell")
async def tell(plan: Plan, ctx: JobContext) -> None:
    """Tell the time, again and again."""
    ctx.log.info("ready")
    await _go.setdefault(ctx.run_id, asyncio.Event()).wait()
    for number in range(plan.count):
        if plan.by_jobs:
            await tell_time.trigger(number)
        else:
            ctx.log.info("at %r", time.time())
        await asyncio.sleep(PAUSE_SECONDS)


telling = create_workflow(name="telling", main_job=tell)
app = define_app("bench-live", workflows=[telling], jobs=[tell_time])


@strawberry.type
class Query:
    """GraphQL wants one."""

    nothing: str = ""


@strawberry.type
class Subscription:
    """The least that a subscription can do: a queue for each who listens."""

    @strawberry.subscription
    async def times(self) -> AsyncIterator[str]:
        """The time, again and again."""
        queue: asyncio.Queue[float] = asyncio.Queue()
        _queues.add(queue)
        try:
            yield "ready"
            while True:
                yield f"at {await queue.get()!r}"
        finally:
            _queues.discard(queue)


async def _begin(request: Request) -> PlainTextResponse:
    """Start a run, which waits for `/go`."""
    plan = Plan(count=int(request.query_params["count"]), by_jobs=bool(request.query_params["jobs"]))
    platform: EmbeddedPlatform = request.app.state.platform
    return PlainTextResponse(await platform.start_workflow("telling", plan.model_dump_json(), caller=User()))


async def _start(request: Request) -> PlainTextResponse:
    """Let a run go on, or, without one, feed the queues."""
    if run_id := request.query_params.get("run"):
        _go.setdefault(run_id, asyncio.Event()).set()
        return PlainTextResponse("")
    for _ in range(int(request.query_params["count"])):
        now = time.time()
        for queue in _queues:
            queue.put_nowait(now)
        await asyncio.sleep(PAUSE_SECONDS)
    return PlainTextResponse("")


def main(path: str) -> None:
    """Serve both."""
    platform = EmbeddedPlatform(path)
    bare = GraphQL[object, object](
        strawberry.Schema(Query, subscription=Subscription), subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL]
    )
    routes = [
        WebSocketRoute("/bare", bare),
        Route("/begin", _begin, methods=["POST"]),
        Route("/go", _start, methods=["POST"]),
    ]
    asgi = create_asgi(app, platform, routes=routes)
    asgi.state.platform = platform
    tune_garbage_collection()
    logging.getLogger("strawberry.ws.task").disabled = True  # the bare one logs every client that leaves
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(asgi, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main(sys.argv[1])
