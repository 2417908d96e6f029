"""A small app, a server of it on loopback, and a client that speaks both codecs."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import httpx
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic import BaseModel
from starlette.types import ASGIApp

from gqlplugin.app import App, define_app
from gqlplugin.auth import define_auth
from gqlplugin.errors import JobFailedError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.platform.tailor.server.serving import run_server
from gqlplugin.runs import ConcurrencyPolicy
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow

T = TypeVar("T")

TOKEN = "operator-token-of-the-tests"  # noqa: S105
WORKSPACE = "7a52c0f3-7a5c-4f0e-9d6a-0a8f5c1b2d3e"
UNKNOWN = "00000000-0000-4000-8000-00000000dead"
PATIENCE_SECONDS = 60.0
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once, as loading the certificates takes longer than most tests; no server here speaks TLS."""

SERVICE = pb.DESCRIPTOR.services_by_name["OperatorService"]
METHODS = [method.name for method in SERVICE.methods]


class Greeting(BaseModel):
    name: str
    times: int = 1


@dataclass
class Shop:
    """The app, and what its jobs wait for."""

    app: App = field(init=False)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    mended: bool = False

    def __post_init__(self) -> None:
        @create_workflow_job(name="write-letter")
        async def write_letter(input: Greeting, ctx: JobContext) -> str:
            ctx.log.info("Writing")
            ctx.log.info("Written")
            return f"Hello {input.name}"

        @create_workflow_job(name="greet-main")
        async def greet(input: Greeting, ctx: JobContext) -> str:
            ctx.progress(0.5, "half")
            return await write_letter.trigger(input)

        @create_workflow_job(name="flaky-main")
        async def flaky() -> str:
            if not self.mended:
                raise JobFailedError("The oven is cold.", code="COLD")
            return "warm"

        @create_workflow_job(name="gate-main")
        async def gate(input: str) -> None:
            if input == "fail" and not self.mended:
                raise JobFailedError("No.")
            await self.open.wait()

        @create_workflow_job(name="guarded-main")
        async def guarded() -> None: ...

        self.app = define_app(
            "example-shop",
            auth=define_auth("my-auth", Literal["manager", "clerk"], attributes={"manager": {"role": "M", "age": 7}}),
            workflows=[
                create_workflow(name="greet", main_job=greet),
                create_workflow(name="flaky", main_job=flaky),
                create_workflow(
                    name="gate", main_job=gate, concurrency_policy=ConcurrencyPolicy(max_concurrent_executions=1)
                ),
                create_workflow(name="guarded", main_job=guarded, permission=lambda user, invoker: user.id == "alice"),
                create_workflow(name="elsewhere", input=Greeting),
            ],
        )


@dataclass(frozen=True)
class Reply:
    """An answer, whatever codec it came in."""

    status: int
    headers: httpx.Headers
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("code"))

    @property
    def message(self) -> str:
        return str(self.body.get("message"))


class Client:
    """Calls methods, in JSON or in binary.

    Args:
        http: Sends the requests.
        binary: Whether messages are binary.
        ours: Whether it announces, as `TailorPlatform` does, that it knows what gqlplugin adds.
    """

    def __init__(self, http: httpx.AsyncClient, *, binary: bool = False, ours: bool = True) -> None:
        self.http = http
        self.binary = binary
        self.announced = {"gqlplugin-extensions": "1"} if ours else {}

    async def call(
        self, method: str, message: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Call a method in the workspace of the tests."""
        given = {"workspaceId": WORKSPACE, **(message or {})}
        headers = {**self.announced, **(headers or {})}
        if not self.binary:
            response = await self.http.post(f"/tailor.v1.OperatorService/{method}", json=given, headers=headers)
            return Reply(response.status_code, response.headers, response.json())
        response = await self.http.post(
            f"/tailor.v1.OperatorService/{method}",
            content=ParseDict(given, request_of(method)).SerializeToString(),
            headers={"content-type": "application/proto", **headers},
        )
        if response.status_code != 200:
            return Reply(response.status_code, response.headers, response.json())
        answer = response_of(method)
        answer.ParseFromString(response.content)
        return Reply(200, response.headers, MessageToDict(answer))

    async def ok(
        self, method: str, message: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The answer of a method that must succeed."""
        reply = await self.call(method, message, headers=headers)
        assert reply.status == 200, reply.body
        return reply.body

    async def workflow_id(self, name: str) -> str:
        return str((await self.ok("GetWorkflowByName", {"workflowName": name}))["workflow"]["id"])

    async def start(self, name: str, arg: Any = None, *, headers: Mapping[str, str] | None = None, **more: Any) -> str:
        """Start a run and return its ID."""
        message = {"workflowId": await self.workflow_id(name), "arg": json.dumps(arg), **more}
        return str((await self.ok("StartWorkflow", message, headers=headers))["executionId"])

    async def run(self, run_id: str, **more: Any) -> Any:
        return (await self.ok("GetWorkflowExecution", {"executionId": run_id, **more}))["execution"]

    async def in_status(self, run_id: str, *statuses: str) -> Any:
        """The run once it is in one of the statuses."""

        async def reached() -> Any:
            run = await self.run(run_id)
            return run if run["status"].removeprefix("STATUS_") in statuses else None

        return await until(reached)


@dataclass
class Served:
    """A server on loopback."""

    shop: Shop
    platform: Platform
    client: Client
    binary: Client
    port: int


@asynccontextmanager
async def serving(asgi: ASGIApp, *, grace: timedelta = timedelta(seconds=3)) -> AsyncIterator[int]:
    """Run a server on a free port."""
    shutdown = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(run_server(asgi, port=0, shutdown=shutdown, started=port.set_result, grace=grace))
    both: list[asyncio.Future[Any]] = [server, port]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not port.done():
        await server
    try:
        yield port.result()
    finally:
        shutdown.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server


@asynccontextmanager
async def http_client(port: int, token: str = TOKEN, *, http2: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """A client of HTTP/1.1, or of HTTP/2 with prior knowledge."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers=headers,
        http1=not http2,
        http2=http2,
        trust_env=False,
        timeout=PATIENCE_SECONDS,
        verify=TLS,
    ) as http:
        yield http


@asynccontextmanager
async def shop_server(
    platform: Platform | None = None, *, shop: Shop | None = None, **options: Any
) -> AsyncIterator[Served]:
    """The shop, served."""
    shop = shop or Shop()
    platform = platform or MemoryPlatform()
    asgi = create_server(shop.app, platform, token=TOKEN, **options)
    async with serving(asgi) as port, http_client(port) as http:
        yield Served(shop, platform, Client(http), Client(http, binary=True), port)
        shop.open.set()


async def until(condition: Callable[[], Awaitable[T]]) -> T:
    """Wait for a condition to hold, and return what it said."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (result := await condition()):  # noqa: ASYNC110 - the server has no event for most conditions
            await asyncio.sleep(0.005)
    return result


def request_of(method: str) -> Message:
    return GetMessageClass(SERVICE.methods_by_name[method].input_type)()


def response_of(method: str) -> Message:
    return GetMessageClass(SERVICE.methods_by_name[method].output_type)()
