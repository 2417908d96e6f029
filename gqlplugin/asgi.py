"""An ASGI app that serves an app's GraphQL API, and the pieces for an app of your own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import strawberry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route, WebSocketRoute

from gqlplugin.app import App
from gqlplugin.errors import DefinitionError
from gqlplugin.executor.trigger import IncomingWebhookTrigger
from gqlplugin.graphql.execute import bind_schema
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.policy import RunPolicy
from gqlplugin.graphql.schema import check_operations, create_schema
from gqlplugin.graphql.view import Authenticate, GraphQLApp
from gqlplugin.platform.base import Platform
from gqlplugin.webhooks import webhook_routes

__all__ = ["Authenticate", "GraphQLApp", "Lifespan", "create_asgi", "graphql_routes", "lifespan", "webhook_routes"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]
"""What Starlette and FastAPI take as `lifespan=`."""


def graphql_routes(
    app: App,
    platform: Platform,
    *,
    schema: strawberry.Schema | None = None,
    authenticate: Authenticate | None = None,
    debug: bool = False,
    path: str = "/graphql",
    policy: RunPolicy | None = None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    allowed_origins: Sequence[str] = (),
) -> list[BaseRoute]:
    """The routes of the endpoint, for an app of your own that also has the `lifespan`.

    ```python
    api = FastAPI(lifespan=lifespan(app, platform))
    api.router.routes.extend(graphql_routes(app, platform))
    ```

    Args:
        app: The definitions.
        platform: Where workflows start.
        schema: One of your own, with a `WorkflowExtension`; by default `create_schema(app)` with `policy` and `limits`.
        authenticate: Tells the caller of a request or WebSocket; raise `UnauthenticatedError` to refuse it. Everybody
            is anonymous by default.
        debug: Serve GraphiQL, and queries by GET.
        path: Where the endpoint is.
        policy: Who may see and resume which run; unless you give a schema.
        limits: What a request may cost. With a schema of your own only `max_body_bytes` matters here.
        allowed_origins: Origins of web pages that may open a WebSocket, besides the endpoint's own.

    Raises:
        DefinitionError: The schema has no `WorkflowExtension`, or refuses what an executor runs.
    """
    schema = schema or create_schema(app, policy=policy, limits=limits)
    check_operations(schema, app)
    if not any(isinstance(extension, WorkflowExtension) for extension in schema.get_extensions()):
        raise DefinitionError(
            "The schema has no WorkflowExtension, so its resolvers could start nothing: make it with create_schema, or "
            "with strawberry.Schema(..., extensions=[lambda: WorkflowExtension(app)])."
        )
    endpoint = GraphQLApp(
        schema,
        app,
        platform,
        authenticate=authenticate,
        debug=debug,
        max_body_bytes=limits.max_body_bytes,
        allowed_origins=allowed_origins,
    )
    return [Route(path, endpoint), WebSocketRoute(path, endpoint)]


def lifespan(
    app: App, platform: Platform, *, schema: strawberry.Schema | None = None, execute: bool = True
) -> Lifespan:
    """A lifespan for Starlette or FastAPI: connects the platform, opens the databases, and runs the app's jobs.

    Args:
        app: The definitions.
        platform: Where workflows start.
        schema: The one that is served, if it is one of your own: executors run their GraphQL operations on it.
        execute: Whether this process runs jobs; without, it only starts, shows and resumes.
    """

    @asynccontextmanager
    async def run(_: object) -> AsyncIterator[None]:
        async with platform:
            with nullcontext() if schema is None else bind_schema(app, schema):
                async with platform.execute(app) if execute else app.running(platform):
                    yield

    return run


def create_asgi(
    app: App,
    platform: Platform,
    *,
    schema: strawberry.Schema | None = None,
    authenticate: Authenticate | None = None,
    debug: bool = False,
    path: str = "/graphql",
    policy: RunPolicy | None = None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    allowed_origins: Sequence[str] = (),
    execute: bool = True,
    routes: Iterable[BaseRoute] = (),
    middleware: Sequence[Middleware] = (),
) -> Starlette:
    """An ASGI app that serves the GraphQL API and the incoming webhooks, and runs the jobs.

    ```python
    asgi = create_asgi(app, EmbeddedPlatform("shop.sqlite"))
    ```

    Where an executor waits for requests, they are served below `/webhooks`; see `webhook_routes`.

    Args:
        app: The definitions.
        platform: Where workflows start.
        schema: As for `graphql_routes`, as are `authenticate`, `debug`, `path`, `policy`, `limits` and
            `allowed_origins`.
        authenticate: See there.
        debug: See there.
        path: See there.
        policy: See there.
        limits: See there.
        allowed_origins: See there.
        execute: Whether this process runs jobs; without, it only starts, shows and resumes.
        routes: More routes of yours.
        middleware: Starlette's, such as CORS.

    Raises:
        DefinitionError: The schema can't be made, or has no `WorkflowExtension`.
    """
    schema = schema or create_schema(app, policy=policy, limits=limits)
    endpoint = graphql_routes(
        app,
        platform,
        schema=schema,
        authenticate=authenticate,
        debug=debug,
        path=path,
        policy=policy,
        limits=limits,
        allowed_origins=allowed_origins,
    )
    has_webhooks = any(isinstance(one.trigger, IncomingWebhookTrigger) for one in app.executors.values())
    webhooks = webhook_routes(app, platform) if has_webhooks else []
    return Starlette(
        debug=debug,
        routes=[*endpoint, *webhooks, *routes],
        middleware=middleware,
        lifespan=lifespan(app, platform, schema=schema, execute=execute),
    )
