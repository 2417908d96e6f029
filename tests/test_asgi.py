"""An app served by itself, and mounted beside other routes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import strawberry
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp
from strawberry.fastapi import GraphQLRouter

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi, graphql_routes, lifespan
from gqlplugin.authentication.callers import Authenticate
from gqlplugin.database import define_database, get_db
from gqlplugin.errors import DefinitionError
from gqlplugin.executor import create_executor, function_operation, incoming_webhook_trigger
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.identity import User
from gqlplugin.platform.base import Definitions
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import WorkflowExecution
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform, serve
from tests.graphql.shop import auth, define_shop, order_processing, place_order, shop_schema

pytestmark = pytest.mark.anyio


PLACE = 'mutation { placeOrder(orderId: "1") { runId } }'


async def finished(platform: MemoryPlatform, run_id: str) -> WorkflowExecution:
    """The run once it has ended."""
    async with asyncio.timeout(60):
        return [run async for run in platform.watch(run_id)][-1]


async def test_a_mutation_over_http_starts_a_run() -> None:
    """The main path: the run ID comes back at once, and the run goes on in this process."""
    platform = MemoryPlatform()
    async with serve(create_asgi(define_shop(), platform)) as client:
        run_id = (await client.run(PLACE))["placeOrder"]["runId"]
        await finished(platform, run_id)
        query = "query ($id: ID!) { workflowRun(id: $id) { status ... on OrderProcessingRun { output { total } } } }"
        run = (await client.run(query, {"id": run_id}))["workflowRun"]
    assert run == {"status": "SUCCESS", "output": {"total": 10}}


@strawberry.type
class OwnQuery:
    @strawberry.field
    def teapot(self, info: strawberry.Info) -> str:
        response = info.context["response"]
        response.status_code = 418
        response.set_cookie("tea", "green")
        return str(info.context["user"].id)


@strawberry.type
class OwnMutation:
    place_order = place_order.field()


async def test_a_schema_of_ones_own_is_served() -> None:
    """With the extension, the view says where its resolvers start; they may set status, headers and cookies."""
    schema = strawberry.Schema(OwnQuery, OwnMutation, extensions=[WorkflowExtension])
    async with serve(create_asgi(define_shop(), MemoryPlatform(), schema=schema)) as client:
        assert (await client.run(PLACE))["placeOrder"]["runId"]
        response = await client.http.post("/graphql", json={"query": "{ teapot }"})
    assert response.status_code == 418
    assert response.cookies["tea"] == "green"
    with pytest.raises(DefinitionError, match="has no WorkflowExtension"):
        create_asgi(define_shop(), MemoryPlatform(), schema=strawberry.Schema(OwnQuery))


async def _hello(_: HTTPConnection) -> PlainTextResponse:
    return PlainTextResponse("hello")


def _starlette(platform: MemoryPlatform) -> ASGIApp:
    app = define_shop()
    routes = [Route("/hello", _hello), *graphql_routes(app, platform, path="/api/graphql")]
    return Starlette(routes=routes, lifespan=lifespan(app, platform))


def _fastapi(platform: MemoryPlatform) -> ASGIApp:
    app = define_shop()
    api = FastAPI(lifespan=lifespan(app, platform))
    api.router.routes.extend(graphql_routes(app, platform, path="/api/graphql"))
    api.add_api_route("/hello", lambda: "hello")
    return api


def _fastapi_router(platform: MemoryPlatform) -> ASGIApp:
    app = define_shop()
    schema = strawberry.Schema(OwnQuery, OwnMutation, extensions=[lambda: WorkflowExtension(app, platform)])
    api = FastAPI(lifespan=lifespan(app, platform))
    api.include_router(GraphQLRouter(schema), prefix="/api/graphql")
    api.add_api_route("/hello", lambda: "hello")
    return api


def _create_asgi(platform: MemoryPlatform) -> ASGIApp:
    return create_asgi(define_shop(), platform, path="/api/graphql", routes=[Route("/hello", _hello)])


@pytest.mark.parametrize("make", [_starlette, _fastapi, _fastapi_router, _create_asgi])
async def test_the_endpoint_is_mounted_beside_other_routes(make: Any) -> None:
    """In Starlette and FastAPI, with our view or with Strawberry's router: runs are started and executed."""
    platform = MemoryPlatform()
    async with serve(make(platform), path="/api/graphql") as client:
        assert "hello" in (await client.http.get("/hello")).text
        run_id = (await client.run(PLACE))["placeOrder"]["runId"]
        assert (await finished(platform, run_id)).status == "SUCCESS"


class WatchedPlatform(MemoryPlatform):
    """Keeps the apps that it was asked to execute."""

    def __init__(self) -> None:
        super().__init__()
        self.executed: list[str] = []

    @asynccontextmanager
    async def execute(self, definitions: Definitions) -> AsyncIterator[None]:
        self.executed.append(definitions.name)
        async with super().execute(definitions):
            yield


@pytest.mark.parametrize("execute", [True, False])
async def test_a_process_can_start_without_executing(execute: bool) -> None:
    """With `execute=False` runs are left to another process."""
    platform = WatchedPlatform()
    async with serve(create_asgi(define_shop(), platform, schema=shop_schema(), execute=execute)) as client:
        assert (await client.run(PLACE))["placeOrder"]["runId"]
    assert platform.executed == (["shop"] if execute else [])


@pytest.mark.parametrize("disabled", [True, False])
async def test_incoming_webhooks_are_served_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch, disabled: bool
) -> None:
    """By itself, beside the endpoint; an app without them has no such routes."""
    monkeypatch.setenv("SHOP_HOOK", "a-secret-of-this-test")
    trigger = incoming_webhook_trigger(path_secrets=[secret("SHOP_HOOK")])
    executor = create_executor(
        "hook", trigger=trigger, operation=function_operation(lambda args: args.method), disabled=disabled
    )
    routes = [Mount("/", Starlette(routes=[Route("/hello", _hello)]))]
    with_hook = define_app(
        "shop", auth=auth, resolvers=[place_order], workflows=[order_processing], executors=[executor]
    )
    async with serve(create_asgi(with_hook, MemoryPlatform(), routes=routes)) as client:
        assert (await client.run(PLACE))["placeOrder"]["runId"]
        hooked = await client.http.post("/webhooks/hook/a-secret-of-this-test")
        assert hooked.status_code == (404 if disabled else 204)
        assert (await client.http.get("/hello")).text == "hello"
    async with serve(create_asgi(define_shop(), MemoryPlatform())) as client:
        missing = await client.http.post("/webhooks/hook/a-secret-of-this-test")
    assert (missing.status_code, missing.text) == (404, "Not Found")


@create_resolver(name="countOrders", operation="query")
async def count_orders(ctx: ResolverContext[None]) -> int:
    return len((await get_db("main").execute(text("SELECT 1"))).all())


SUB_APP = define_app(
    "sub-app",
    workflows=[order_processing],
    resolvers=[place_order, count_orders],
    databases=[define_database("main", "sqlite+aiosqlite:///never-opened.sqlite")],
    auth=auth,
    executors=[
        create_executor(
            "hook",
            trigger=incoming_webhook_trigger(path_secrets=[SecretStr("a-path-secret-of-this-test")]),
            operation=function_operation(lambda args: None),
        )
    ],
)


@pytest.mark.parametrize("outer", [FastAPI, Starlette])
@pytest.mark.parametrize(
    "query",
    [
        PLACE,
        '{ workflowRun(id: "01900000-0000-7000-8000-000000000000") { id } }',
        "{ workflowRuns { edges { node { id } } } }",
        "{ countOrders }",
    ],
)
async def test_an_app_whose_lifespan_has_not_run_says_so_in_the_log(
    outer: type[Starlette], query: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mounted app's lifespan is never run: its clients get an internal error, and the log what to write."""
    platform = EmbeddedPlatform(tmp_path / "runs.sqlite")
    api = outer()
    api.mount("/api", create_asgi(SUB_APP, platform, authenticate=lambda request: User("alice", "user")))
    async with serve(api, path="/api/graphql") as client:
        result = await client.execute(query)
    (error,) = result.errors
    assert (error["message"], result.codes) == ("Internal error", ["INTERNAL"])
    assert str(tmp_path) not in repr(result)
    (line,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert error["extensions"]["id"] in line.getMessage()
    assert "lifespan=lifespan(app, platform)" in line.getMessage()


async def test_a_webhook_of_an_app_whose_lifespan_has_not_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The sender gets an internal error, and the log what to write."""
    api = FastAPI()
    api.mount("/api", create_asgi(SUB_APP, EmbeddedPlatform(tmp_path / "runs.sqlite")))
    async with serve(api) as client:
        answer = await client.http.post("/api/webhooks/hook/a-path-secret-of-this-test")
    assert answer.status_code == 500
    assert "runs.sqlite" not in answer.text
    (line,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert "lifespan=lifespan(app, platform)" in line.getMessage()


def anonymity(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What is logged about callers that nobody identifies."""
    return [one for one in caplog.records if "does not identify its callers" in one.getMessage()]


async def test_an_api_without_callers_says_so_once_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the app, and the line to write; it comes with the start, not with requests."""
    asgi = create_asgi(define_shop(), MemoryPlatform())
    assert not anonymity(caplog)
    async with serve(asgi) as client:
        await client.run(PLACE)
        await client.run(PLACE)
        (line,) = anonymity(caplog)
    assert line.levelname == "WARNING"
    assert "'shop'" in line.getMessage()
    assert "authenticate=" in line.getMessage()


@pytest.mark.parametrize("authenticate", [None, lambda request: User("alice", "user")])
async def test_an_api_that_says_who_calls_is_not_warned_about(
    caplog: pytest.LogCaptureFixture, authenticate: Authenticate | None
) -> None:
    """Also one that says that anybody may."""
    async with serve(create_asgi(define_shop(), MemoryPlatform(), authenticate=authenticate)) as client:
        await client.run(PLACE)
    graphql_routes(define_shop(), MemoryPlatform(), authenticate=authenticate)
    assert not anonymity(caplog)


async def test_routes_of_an_app_of_ones_own_are_warned_about_too(caplog: pytest.LogCaptureFixture) -> None:
    """When they are made: they know of no start."""
    app, platform = define_shop(), MemoryPlatform()
    routes = graphql_routes(app, platform)
    (line,) = anonymity(caplog)
    async with serve(Starlette(routes=routes, lifespan=lifespan(app, platform))) as client:
        await client.run(PLACE)
    assert anonymity(caplog) == [line]


async def test_a_view_of_somebody_else_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """A schema whose extension has no `user=` takes everybody for nobody, which `user=None` may ask for."""
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 1),
        ({"user": None}, 0),
        ({"user": lambda context: User("alice", "user")}, 0),
    ]
    for options, warned in cases:
        caplog.clear()
        app, platform = define_shop(), MemoryPlatform()
        extension = partial(WorkflowExtension, app, platform, **options)
        schema = strawberry.Schema(OwnQuery, OwnMutation, extensions=[extension])
        async with platform:
            for _ in range(2):
                assert not (await schema.execute(PLACE)).errors
        assert len(anonymity(caplog)) == warned
