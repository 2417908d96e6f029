"""A served app whose jobs do what tests tell them, and clients that follow its runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets
from starlette.types import ASGIApp

from gqlplugin.app import App, define_app
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.runs import RetryPolicy
from gqlplugin.workflow import Workflow, create_workflow
from tests.loopback import uvicorn_serving

PATIENCE_SECONDS = 60.0

FIELDS = """cursor run { id status jobs { stackedName status logs isWaitPoint } } changes {
  __typename
  ... on WorkflowRunStatusChange { status }
  ... on WorkflowJobStart { job { stackedName status } }
  ... on WorkflowJobEnd { job { stackedName status } }
  ... on WorkflowJobProgress { job { stackedName } progress message }
  ... on WorkflowJobLogLine { job { stackedName } line }
}"""
SUBSCRIPTION = (
    f"subscription ($id: ID!, $after: String) {{ workflowRunUpdates(id: $id, after: $after) {{ {FIELDS} }} }}"
)

Update = Mapping[str, Any]


class Director:
    """Tells the main job of a run what to do next, and waits until it has done so."""

    def __init__(self) -> None:
        self._orders: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._done: asyncio.Queue[None] = asyncio.Queue()

    async def tell(self, what: str, value: Any = None) -> None:
        """`log` a line, say `progress`, run a `job` that logs lines, `fail`, or `end`."""
        await self._orders.put((what, value))
        if what in ("log", "progress", "job"):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._done.get()

    def workflow(self, name: str = "directed", retry_policy: RetryPolicy | None = None) -> Workflow[None, Any]:
        """A workflow that does what it is told."""
        return directed(self, name, retry_policy)[0]

    async def act(self, ctx: JobContext, step: Any) -> Any:
        """Do what was told, until that is to end."""
        while True:
            what, value = await self._orders.get()
            match what:
                case "log":
                    ctx.log.info(value)
                case "progress":
                    ctx.progress(*value)
                case "job":
                    await step.trigger(value)
                case "fail":
                    raise RuntimeError(value)
                case "end":
                    return value
            await self._done.put(None)


def directed(
    director: Director, name: str = "directed", retry_policy: RetryPolicy | None = None
) -> tuple[Workflow[None, Any], Any]:
    """A workflow that does what it is told, and the job that it triggers."""

    @create_workflow_job(name="step")
    async def step(lines: list[str], ctx: JobContext) -> int:
        for line in lines:
            ctx.log.info(line)
        return len(lines)

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> Any:
        return await director.act(ctx, step)

    return create_workflow(name=name, main_job=main, retry_policy=retry_policy), step


def directed_app(director: Director, retry_policy: RetryPolicy | None = None) -> App:
    """An app with such a workflow."""
    workflow, step = directed(director, retry_policy=retry_policy)
    return define_app("live", workflows=[workflow], jobs=[step])


@asynccontextmanager
async def graphql_served(asgi: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """Serve an app with uvicorn on loopback, and yield the URL of its endpoint."""
    async with uvicorn_serving(asgi, **options) as url:
        yield f"{url}/graphql"


class Socket:
    """A client of `graphql-transport-ws`."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def send(self, message: object) -> None:
        await self.connection.send(json.dumps(message))

    async def subscribe(
        self, query: str, variables: Mapping[str, Any] | None = None, *, id: str = "1"
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The messages of an operation, the one that ends it included."""
        queue = self._queues[id] = asyncio.Queue()
        await self.send({"id": id, "type": "subscribe", "payload": {"query": query, "variables": variables}})
        while True:
            async with asyncio.timeout(PATIENCE_SECONDS):
                message = await queue.get()
            yield message
            if message["type"] != "next":
                return

    async def follow(self, run_id: str, after: str | None = None, *, id: str = "1") -> AsyncGenerator[Update, None]:
        """The updates of a run, which must end well."""
        async for message in self.subscribe(SUBSCRIPTION, {"id": run_id, "after": after}, id=id):
            if message["type"] == "next":
                assert "errors" not in message["payload"], message
                yield message["payload"]["data"]["workflowRunUpdates"]
            else:
                assert message["type"] == "complete", message

    async def complete(self, id: str = "1") -> None:
        """Leave an operation."""
        await self.send({"id": id, "type": "complete"})

    async def _read(self) -> None:
        async for text in self.connection:
            message = json.loads(text)
            if message["type"] in ("next", "error", "complete"):
                self._queues[message["id"]].put_nowait(message)

    def pause(self) -> None:
        """Read nothing from the network any more."""
        self._reading.cancel()
        self.connection.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self.connection.transport.resume_reading()
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._reading.cancel()
        await self.connection.close()


@asynccontextmanager
async def connected(url: str, payload: Mapping[str, Any] | None = None, **options: Any) -> AsyncIterator[Socket]:
    """A connection that was acknowledged."""
    address = url.replace("http:", "ws:")
    protocol: Any = ["graphql-transport-ws"]
    async with websockets.connect(address, subprotocols=protocol, max_size=None, **options) as connection:
        await connection.send(json.dumps({"type": "connection_init", "payload": payload or {}}))
        assert json.loads(await connection.recv()) == {"type": "connection_ack"}
        client = Socket(connection)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def streamed(
    url: str, query: str, variables: Mapping[str, Any] | None = None, **headers: str
) -> AsyncIterator[httpx.Response]:
    """The response to an operation that is asked for as server-sent events."""
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
        given = {"accept": "text/event-stream", **headers}
        async with http.stream("POST", url, json={"query": query, "variables": variables}, headers=given) as response:
            yield response


async def events_of(response: httpx.Response) -> AsyncGenerator[tuple[str, Any], None]:
    """The events of a stream: their names, and their data if it is not empty."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = line.removeprefix("data: ")
            yield name, json.loads(data) if data else None


def brief(update: Update) -> list[str]:
    """The changes of an update, in short."""
    return [_brief(change) for change in update["changes"]]


def _brief(change: Mapping[str, Any]) -> str:
    job = change.get("job", {}).get("stackedName")
    match change["__typename"]:
        case "WorkflowRunStatusChange":
            return str(change["status"])
        case "WorkflowJobStart":
            return f"{job} starts"
        case "WorkflowJobEnd":
            return f"{job} ends: {change['job']['status']}"
        case "WorkflowJobProgress":
            return f"{job} at {change['progress']}: {change['message']}"
        case _:
            return f"{job}: {change['line'].partition('INFO ')[2]}"
