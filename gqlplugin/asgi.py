"""An ASGI app that serves an app's GraphQL API, and the pieces for an app of your own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import strawberry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route, WebSocketRoute

from gqlplugin.app import App
from gqlplugin.authentication.callers import Authenticate, Verifier
from gqlplugin.errors import DefinitionError, SetupError
from gqlplugin.executor.trigger import IncomingWebhookTrigger
from gqlplugin.graphql.endpoint import GraphQLApp, cors, warn_of_anonymous
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.policy import RunPolicy
from gqlplugin.graphql.schema import check_operations, create_schema
from gqlplugin.graphql.schema_operations import bind_schema
from gqlplugin.platform.base import Platform
from gqlplugin.platform.health import health_routes
from gqlplugin.secret import secret_bytes
from gqlplugin.webhooks import check_secrets, webhook_routes

if TYPE_CHECKING:
    from gqlplugin.authentication.tokens import MachineUserTokens, RunTokens

__all__ = [
    "Authenticate",
    "GraphQLApp",
    "Lifespan",
    "create_asgi",
    "graphql_routes",
    "health_routes",
    "lifespan",
    "token_routes",
    "webhook_routes",
]

_logger = logging.getLogger("gqlplugin.start")

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]
"""What Starlette and FastAPI take as `lifespan=`."""


def graphql_routes(
    app: App,
    platform: Platform,
    *,
    schema: strawberry.Schema | None = None,
    authenticate: Authenticate | None = strawberry.UNSET,
    run_tokens: RunTokens | None = None,
    debug: bool = False,
    introspection: bool | None = None,
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
        authenticate: Tells the caller of a request, or of a WebSocket when its `connection_init` has come: a function
            of an `AuthRequest` that returns a `User`, or a `JWTAuthenticator`. Raise `UnauthenticatedError` to refuse
            it. Machine users' tokens are taken before, where auth defines secrets. Without it everybody else is
            anonymous, which is logged as a warning: say None if that is what you want.
        run_tokens: What issues run-scoped tokens, so that they are taken.
        debug: Serve GraphiQL, queries by GET, and introspection: the development profile. Without it, the endpoint is
            in its production profile; see `docs/clients.md`.
        introspection: Tell clients the schema, and name it in errors; as `debug` unless you say so.
        path: Where the endpoint is.
        policy: Who may do what with which run; unless you give a schema.
        limits: What a request may cost. With a schema of your own, those on bodies, answers and connections matter:
            its `WorkflowExtension` has the others.
        allowed_origins: Origins of web pages that may open a WebSocket and send requests (CORS), with their cookies,
            besides the endpoint's own; such as "https://shop.example".

    Raises:
        DefinitionError: The schema has no `WorkflowExtension`, or refuses what an executor runs; or an origin is none.
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
        verifiers=_verifiers(app, run_tokens),
        debug=debug,
        introspection=introspection,
        max_body_bytes=limits.max_body_bytes,
        max_subscriptions=limits.max_subscriptions,
        max_response_bytes=limits.max_response_bytes,
        max_unread_bytes=limits.max_unread_bytes,
        max_stall_seconds=limits.max_stall_seconds,
        allowed_origins=allowed_origins,
    )
    middleware = cors(endpoint.origins, debug=debug)
    return [Route(path, endpoint, middleware=middleware), WebSocketRoute(path, endpoint)]


def token_routes(app: App) -> list[BaseRoute]:
    """The route `POST /oauth2/token`, where machine users get their tokens (RFC 6749, section 4.4).

    The client ID is the machine user's name.

    Raises:
        DefinitionError: The app's auth defines no secrets.
    """
    tokens = _machine_user_tokens(app)
    if tokens is None:
        raise DefinitionError("There are no tokens for machine users: give define_auth(secrets=) their secrets.")
    from gqlplugin.oauth import TokenEndpoint  # noqa: PLC0415 - needs an extra

    return [Route("/oauth2/token", TokenEndpoint(tokens).handle, methods=["POST"])]


def _verifiers(app: App, run_tokens: RunTokens | None) -> list[Verifier]:
    return [one for one in (run_tokens, _machine_user_tokens(app)) if one is not None]


def _machine_user_tokens(app: App) -> MachineUserTokens | None:
    if app.auth is None or not app.auth.secrets:
        return None
    from gqlplugin.authentication.tokens import MachineUserTokens  # noqa: PLC0415 - needs an extra

    return MachineUserTokens(app.auth, app.auth.secrets)


def _check_secrets(app: App) -> None:
    """Log which secrets can't be used, before the first request needs one."""
    check_secrets(app)
    for name, secret in (app.auth.secrets if app.auth is not None else {}).items():
        try:
            secret_bytes(secret, "Its secret")
        except SetupError as error:
            _logger.error("Machine user %r gets no tokens: %s", name, error)


def lifespan(
    app: App, platform: Platform, *, schema: strawberry.Schema | None = None, execute: bool | None = None
) -> Lifespan:
    """A lifespan for Starlette or FastAPI: connects the platform, opens the databases, and runs the app's jobs.

    A secret of an incoming webhook or of a machine user that is missing or too short is logged at ERROR, and the rest
    of the app runs.

    Args:
        app: The definitions.
        platform: Where workflows start.
        schema: The one that is served, if it is one of your own: executors run their GraphQL operations on it.
        execute: Whether this process runs jobs; else it only starts, shows and resumes. By default it runs them unless
            the platform has workers for that, as Temporal has: `gqlplugin worker`.
    """
    executes = not platform.separate_workers if execute is None else execute

    @asynccontextmanager
    async def run(_: object) -> AsyncIterator[None]:
        _check_secrets(app)
        async with platform:
            with nullcontext() if schema is None else bind_schema(app, schema):
                async with platform.execute(app) if executes else app.running(platform):
                    yield

    return run


def create_asgi(
    app: App,
    platform: Platform,
    *,
    schema: strawberry.Schema | None = None,
    authenticate: Authenticate | None = strawberry.UNSET,
    run_tokens: RunTokens | None = None,
    debug: bool = False,
    introspection: bool | None = None,
    path: str = "/graphql",
    policy: RunPolicy | None = None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    allowed_origins: Sequence[str] = (),
    execute: bool | None = None,
    health_path: str | None = "/healthz",
    routes: Iterable[BaseRoute] = (),
    middleware: Sequence[Middleware] = (),
) -> Starlette:
    """An ASGI app that serves the GraphQL API, incoming webhooks, and machine users' tokens, and may run the jobs.

    ```python
    asgi = create_asgi(app, EmbeddedPlatform("shop.sqlite"))
    ```

    Where an executor waits for requests, they are served below `/webhooks`; see `webhook_routes`. Where auth defines
    secrets, machine users get tokens at `/oauth2/token`; see `token_routes`.

    Args:
        app: The definitions.
        platform: Where workflows start.
        schema: As for `graphql_routes`, as are `authenticate`, `run_tokens`, `debug`, `introspection`, `path`,
            `policy`, `limits` and `allowed_origins`.
        authenticate: See there.
        run_tokens: See there.
        debug: See there.
        introspection: See there.
        path: See there.
        policy: See there.
        limits: See there.
        allowed_origins: See there.
        execute: Whether this process runs jobs; see `lifespan`.
        health_path: Where probes ask whether runs can be started; see `health_routes`. None leaves it out.
        routes: More routes of yours; one of them at `health_path` replaces it.
        middleware: Starlette's.

    Raises:
        DefinitionError: The schema can't be made, or has no `WorkflowExtension`.
    """
    schema = schema or create_schema(app, policy=policy, limits=limits)
    endpoint = graphql_routes(
        app,
        platform,
        schema=schema,
        authenticate=None if authenticate is strawberry.UNSET else authenticate,
        run_tokens=run_tokens,
        debug=debug,
        introspection=introspection,
        path=path,
        policy=policy,
        limits=limits,
        allowed_origins=allowed_origins,
    )
    has_webhooks = any(isinstance(one.trigger, IncomingWebhookTrigger) for one in app.executors.values())
    webhooks = webhook_routes(app, platform) if has_webhooks else []
    tokens = token_routes(app) if app.auth is not None and app.auth.secrets else []
    health = [] if health_path is None else health_routes(platform, path=health_path)
    running = lifespan(app, platform, schema=schema, execute=execute)

    @asynccontextmanager
    async def run(asgi: Starlette) -> AsyncIterator[None]:
        if authenticate is strawberry.UNSET:
            warn_of_anonymous(app)
        async with running(asgi):
            yield

    return Starlette(
        debug=debug, routes=[*endpoint, *webhooks, *tokens, *routes, *health], middleware=middleware, lifespan=run
    )
