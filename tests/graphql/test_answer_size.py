"""How long an answer may get, and what is read and held for it."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import strawberry
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi, lifespan
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import User
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import Allowance, ExecutionFilter, Values
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.graphql.live import connected, events_of, graphql_served, streamed

pytestmark = pytest.mark.anyio

LIMIT = 100_000
LIMITS = Limits(max_response_bytes=LIMIT)
CODE = {"code": "LIMIT_EXCEEDED"}


class Text(BaseModel):
    s: str


class Started(BaseModel):
    run_id: str
    echoed: str | None = None


class Made(BaseModel):
    size: int
    parts: int = 1


class Parts(BaseModel):
    parts: list[str | None]


approval = define_wait_point("approval", payload=Text, result=bool)


@create_workflow_job(name="echo")
async def echo(text: Text, ctx: JobContext) -> Text:
    ctx.log.info(text.s)
    return text


@create_workflow_job(name="ask")
async def ask(text: Text) -> bool:
    return await approval.wait(text)


echoing = create_workflow(name="echo", main_job=echo)
asking = create_workflow(name="ask", main_job=ask)


@create_resolver(name="echo", operation="mutation")
async def start_echo(ctx: ResolverContext[Text]) -> Started:
    return Started(run_id=await echoing.trigger(ctx.input), echoed=ctx.input.s)


@create_resolver(name="make", operation="query")
async def make(ctx: ResolverContext[Made]) -> Parts:
    return Parts(parts=["x" * ctx.input.size] * ctx.input.parts)


def define() -> App:
    return define_app("sizes", workflows=[echoing, asking], wait_points=[approval], resolvers=[start_echo, make])


def caller(request: object) -> User:
    return User("ann", "user")


async def start(platform: Platform, count: int, size: int, workflow: Any = echoing) -> list[str]:
    """Runs of one caller, each with an input, an output, a result and a log line of some size."""
    arg = f'{{"s": "{"x" * size}"}}'
    ids = [await platform.start_workflow(workflow.name, arg, caller=User("ann", "user")) for _ in range(count)]
    for run_id in ids:
        async with asyncio.timeout(30):
            async for run in platform.watch(run_id):
                if run.status in ("SUCCESS", "WAITING"):
                    break
    return ids


@pytest.fixture
async def platform() -> MemoryPlatform:
    return MemoryPlatform()


@pytest.fixture
async def client(platform: MemoryPlatform) -> AsyncIterator[GraphQLClient]:
    schema = create_schema(define(), limits=LIMITS, config=StrawberryConfig(batching_config={"max_operations": 5}))
    asgi = create_asgi(define(), platform, schema=schema, authenticate=caller, limits=LIMITS, debug=True)
    async with serve(asgi) as client:
        yield client


def lists(aliases: int, fields: str) -> str:
    nodes = f"workflowRuns(first: 20) {{ edges {{ node {{ id ... on EchoRun {{ {fields} }} }} }} }}"
    return "{ " + " ".join(f"a{number}: {nodes}" for number in range(aliases)) + " }"


@pytest.mark.parametrize(
    "fields",
    ["input { s }", "output { s }", "jobs { result }", "input { " + "a: s b: s c: s d: s e: s }"],
)
async def test_a_list_of_large_values_is_bounded_while_it_is_made(
    client: GraphQLClient, platform: MemoryPlatform, fields: str
) -> None:
    """What fits is there, the rest is null with an error at its path, and small values come after large ones."""
    ids = await start(platform, 20, 10_000)
    response = await client.http.post("/graphql", json={"query": lists(5, fields)})
    assert len(response.content) <= LIMIT
    body = response.json()
    assert {error["extensions"]["code"] for error in body["errors"]} == {"LIMIT_EXCEEDED"}
    assert all(error["path"][0][0] == "a" and len(error["path"]) > 3 for error in body["errors"])
    edges = [edge["node"] for page in body["data"].values() for edge in page["edges"]]
    assert [node["id"] for node in edges] == ids[::-1] * 5
    assert sum("x" * 1_000 in str(node) for node in edges) >= 1


async def test_what_must_not_be_null_takes_its_parents_with_it(client: GraphQLClient, platform: MemoryPlatform) -> None:
    """As GraphQL has it: of too many lines of logs, nothing is left but the error."""
    await start(platform, 20, 10_000)
    result = await client.execute(lists(5, "jobs { logs }"))
    assert result.data is None
    assert set(result.codes) == {"LIMIT_EXCEEDED"}


async def test_what_is_parsed_counts_however_little_of_it_is_shown(
    client: GraphQLClient, platform: MemoryPlatform
) -> None:
    """Reading a value again and again takes time, though the answer stays short."""
    [run_id] = await start(platform, 1, 30_000)
    inputs = " ".join(f"i{number}: input {{ __typename }}" for number in range(5))
    result = await client.execute(f'{{ workflowRun(id: "{run_id}") {{ ... on EchoRun {{ {inputs} }} }} }}')
    assert [value is None for value in result.data["workflowRun"].values()] == [False] * 3 + [True] * 2
    assert set(result.codes) == {"LIMIT_EXCEEDED"}


async def test_an_ordinary_page_passes(client: GraphQLClient, platform: MemoryPlatform) -> None:
    """A list says nothing of values that are not asked for, however large they are."""
    await start(platform, 20, 20_000)
    fields = "status error progress jobs { id name status error startedAt finishedAt progress isWaitPoint }"
    result = await client.execute(lists(5, fields))
    assert not result.errors


async def test_waits_are_bounded(client: GraphQLClient, platform: MemoryPlatform) -> None:
    """The payloads in the list of those who wait, in both of their forms, and the inputs of their runs."""
    await start(platform, 10, 20_000, asking)
    for fields in ("payload", "... on PendingApproval { request { s } }", "run { ... on AskRun { input { s } } }"):
        query = f"{{ pendingWaitPoints(first: 10) {{ edges {{ node {{ id {fields} }} }} }} }}"
        response = await client.http.post("/graphql", json={"query": query})
        assert len(response.content) <= LIMIT
        assert {error["extensions"]["code"] for error in response.json()["errors"]} == {"LIMIT_EXCEEDED"}
        assert len(response.json()["data"]["pendingWaitPoints"]["edges"]) == 10
    assert not (await client.execute("{ pendingWaitPoints { edges { node { id name mayResolve } } } }")).errors


async def test_a_mutation_that_started_a_run_keeps_its_id(client: GraphQLClient, platform: MemoryPlatform) -> None:
    """Only the value that is too long is null, with its path."""
    result = await client.execute("mutation($s: String!) { echo(s: $s) { echoed runId } }", {"s": "x" * LIMIT})
    assert result.data["echo"]["echoed"] is None
    assert [error["path"] for error in result.errors] == [["echo", "echoed"]]
    assert result.codes == ["LIMIT_EXCEEDED"]
    assert (await platform.get_execution(result.data["echo"]["runId"])).workflow_name == "echo"


async def test_the_values_of_own_resolvers_count(client: GraphQLClient) -> None:
    """Item by item, as they are completed; with many errors only some are told, and the answer stays short."""
    query = "{ make(size: 40000, parts: 500) { parts } }"
    response = await client.http.post("/graphql", json={"query": query})
    parts = response.json()["data"]["make"]["parts"]
    assert [len(part) for part in parts if part is not None] == [40_000]
    assert len(response.json()["errors"]) == 20
    assert len(response.content) <= LIMIT


@pytest.mark.parametrize("text", ["x", "é", "茶", "🍵", '"', "\\", "\x01"])
async def test_an_answer_is_measured_in_bytes_of_json(client: GraphQLClient, text: str) -> None:
    """Whatever the characters are: one below the limit passes, one above is refused."""
    size = len(httpx.Response(200, json=text).content) - 2
    for count, is_null in ((LIMIT * 2 // 3 // size, False), (LIMIT // size, True)):
        query = "mutation($s: String!) { echo(s: $s) { echoed } }"
        response = await client.http.post("/graphql", json={"query": query, "variables": {"s": text * count}})
        assert (response.json()["data"]["echo"]["echoed"] is None) is is_null
        assert len(response.content) <= LIMIT


async def test_every_transport_is_bounded(platform: MemoryPlatform) -> None:
    """POST, GET, a batch as a whole, each message on a WebSocket, and server-sent events."""
    schema = create_schema(define(), limits=LIMITS, config=StrawberryConfig(batching_config={"max_operations": 5}))
    asgi = create_asgi(define(), platform, schema=schema, authenticate=None, limits=LIMITS, debug=True)
    large, fits = "{ make(size: 99000) { parts } }", "{ make(size: 60000) { parts } }"
    async with graphql_served(asgi) as url, httpx.AsyncClient() as http, asyncio.timeout(60):
        for response in (await http.post(url, json={"query": large}), await http.get(url, params={"query": large})):
            assert response.json()["errors"][0]["extensions"] == CODE
            assert response.json()["data"] == {"make": {"parts": [None]}}
        batch = await http.post(url, json=[{"query": fits}, {"query": fits}])
        assert sorted("errors" in answer for answer in batch.json()) == [False, True]
        assert len(batch.content) <= LIMIT
        async with streamed(url, large) as response:
            name, event = await anext(events_of(response))
            assert (name, event["errors"][0]["extensions"]) == ("next", CODE)
        async with connected(url) as socket:
            for number in range(3):  # each message has a limit of its own
                message = await anext(socket.subscribe(fits, id=str(number)))
                assert "errors" not in message["payload"]
            message = await anext(socket.subscribe(large, id="large"))
            assert message["payload"]["errors"][0]["extensions"] == CODE


async def test_each_message_of_a_subscription_has_the_whole_limit(platform: MemoryPlatform) -> None:
    """A long life uses nothing up."""

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def texts(self) -> AsyncIterator[str | None]:
            for size in (60_000, 60_000, 200_000, 60_000):
                yield "x" * size

    schema = create_schema(define(), subscription=Subscription, limits=LIMITS)
    asgi = create_asgi(define(), platform, schema=schema, authenticate=None, limits=LIMITS)
    async with graphql_served(asgi) as url, streamed(url, "subscription { texts }") as response:
        sizes = [len(event["data"]["texts"] or "") async for name, event in events_of(response) if name == "next"]
    assert sizes == [60_000, 60_000, 0, 60_000]


@strawberry.type
class Query:
    @strawberry.field
    def text(self, size: int) -> str | None:
        return "x" * size


class OwnExecution(StrawberryGraphQLCoreExecutionContext):
    """One that counts nothing."""


async def test_a_schema_of_ones_own_is_bounded() -> None:
    """By the server's limit, as that is in `create_asgi`; one that counts nothing is noticed when it is written."""
    for execution, data in ((None, {"text": None}), (OwnExecution, None)):
        schema = strawberry.Schema(
            Query, extensions=[lambda: WorkflowExtension(user=None)], execution_context_class=execution
        )
        asgi = create_asgi(define(), MemoryPlatform(), schema=schema, authenticate=None, limits=LIMITS)
        async with serve(asgi) as client:
            result = await client.execute("{ text(size: 100001) }")
            assert (result.data, result.codes) == (data, ["LIMIT_EXCEEDED"])


async def test_a_router_of_ones_own_is_bounded_by_the_extension() -> None:
    """Its limits are those of the operation there."""
    app, platform = define(), MemoryPlatform()
    schema = strawberry.Schema(Query, extensions=[lambda: WorkflowExtension(app, platform, user=None, limits=LIMITS)])
    asgi = Starlette(routes=[Route("/graphql", GraphQL(schema))], lifespan=lifespan(app, platform))
    async with serve(asgi) as client:
        result = await client.execute("{ text(size: 100001) }")
        assert (result.data, result.codes) == ({"text": None}, ["LIMIT_EXCEEDED"])


async def test_a_listing_reads_no_more_than_it_is_allowed(platform: MemoryPlatform) -> None:
    """The values that don't fit, or are not asked for, stay where they are; those that fit are read."""
    async with platform, platform.execute(define()):
        ids = await start(platform, 5, 1_000)
        allowance = Allowance(2_500)
        where = ExecutionFilter(values=Values(frozenset({"input"}), allowance))
        runs = (await platform.list_executions(where, first=5)).executions
        assert [len(run.input) > 1_000 for run in runs].count(True) == 2
        assert {tuple(sorted(run.left_out)) for run in runs} == {("output",), ("input", "output")}
        assert allowance.left < 1_000
        jobs = await platform.get_jobs(ids, values=Values(frozenset({"logs"}), Allowance(3_500)))
        assert [bool(job.logs) for one in jobs.values() for job in one].count(True) == 3
        assert all("result" in job.left_out for one in jobs.values() for job in one)


@pytest.mark.slow
async def test_gigabytes_are_not_made(tmp_path: Path) -> None:
    """A query of 601 characters over 100 runs of 1 MB each takes some megabytes, and nobody else waits for long."""
    platform = EmbeddedPlatform(tmp_path / "runs.sqlite")
    async with graphql_served(create_asgi(define(), platform, authenticate=caller)) as url:
        await start(platform, 100, 1_000_000)
        query = lists(8, "input { s } output { s }").replace("20", "100")
        async with httpx.AsyncClient(timeout=60) as http:
            asked = asyncio.create_task(http.post(url, json={"query": query}))
            waited = [0.0]
            while not asked.done():
                began = asyncio.get_running_loop().time()
                await http.post(url, json={"query": "{ __typename }"})
                waited.append(asyncio.get_running_loop().time() - began)
            tracemalloc.start()
            try:
                again = await http.post(url, json={"query": query})
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        for response in (await asked, again):
            assert len(response.content) <= Limits().max_response_bytes
            assert response.json()["errors"][0]["extensions"] == CODE
        assert max(waited) < 2
        assert peak < 64 * 1024 * 1024
