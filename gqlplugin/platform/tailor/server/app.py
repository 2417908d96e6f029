"""The ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from connectrpc.code import Code
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gqlplugin.errors import InvalidInputError
from gqlplugin.oauth import TokenEndpoint
from gqlplugin.platform.base import Definitions, Platform
from gqlplugin.platform.health import health_routes
from gqlplugin.platform.tailor.proto.operator_connect import OperatorServiceASGIApplication
from gqlplugin.platform.tailor.server.errors import PublicErrors, error_response
from gqlplugin.platform.tailor.server.gate import SERVICE_PATH, Gate
from gqlplugin.platform.tailor.server.ids import is_uuid
from gqlplugin.platform.tailor.server.paging import PageTokens
from gqlplugin.platform.tailor.server.public_url import PublicUrl
from gqlplugin.platform.tailor.server.requests import WorkspaceCheck
from gqlplugin.platform.tailor.server.served import Served, Writes
from gqlplugin.platform.tailor.server.service import Service
from gqlplugin.platform.tailor.server.tokens import MachineUserTokens, OperatorToken

_MAX_MESSAGE_BYTES = 4 * 1024 * 1024


def create_server(
    definitions: Definitions,
    platform: Platform,
    *,
    token: SecretStr | str,
    workspace_id: str | None = None,
    url: str = "",
    trusted_proxies: Iterable[str] = (),
    execute: bool | None = None,
    extensions: bool = True,
    token_lifetime: timedelta = timedelta(hours=1),
) -> Starlette:
    """An ASGI app that serves a platform over the Tailor Platform's contract (TAILOR.md sections 1 to 3).

    ```python
    asgi = create_server(app, EmbeddedPlatform("shop.sqlite"), token=os.environ["OPERATOR_TOKEN"])
    ```

    `run_server` serves it on both of the HTTP versions that clients speak.

    Args:
        definitions: The app whose workflows are served.
        platform: Where they run.
        token: May call every method; at least 16 characters. The secrets of machine users follow from it.
        workspace_id: The only workspace there is, a UUID; any is taken by default.
        url: The base URL under which clients reach this server, to which they also send the secrets of machine users.
            By default the address that a request came to. Behind a proxy, give it, or trust the proxy.
        trusted_proxies: IP addresses and networks of proxies whose `X-Forwarded-Proto` and `X-Forwarded-Host` count;
            "*" trusts all.
        execute: Whether this process runs jobs; else it only starts, shows and resumes. By default it runs them unless
            the platform has workers for that.
        extensions: Whether clients of ours get what the contract has no words for.
        token_lifetime: How long a machine user's token is valid.

    Raises:
        InvalidInputError: The token, the workspace ID, the URL, a proxy or the lifetime is malformed.
    """
    _check(workspace_id)
    operator = OperatorToken(token)
    tokens = MachineUserTokens(operator, definitions.auth, token_lifetime)
    served = Served(
        definitions=definitions,
        platform=platform,
        public_url=PublicUrl(url, trusted_proxies),
        extensions=extensions,
        started_at=datetime.now(UTC),
        page_tokens=PageTokens(operator.derive("page tokens")),
        machine_user_tokens=tokens,
        writes=Writes(),
    )
    methods = OperatorServiceASGIApplication(
        Service(served), interceptors=[PublicErrors(), WorkspaceCheck(workspace_id)], read_max_bytes=_MAX_MESSAGE_BYTES
    )
    gate = Gate(cast(ASGIApp, methods), operator=operator, tokens=tokens, extensions=extensions)
    app = Starlette(
        routes=[
            Route(SERVICE_PATH + "{method:path}", gate),
            Route("/oauth2/token", TokenEndpoint(tokens).handle, methods=["POST"]),
            *health_routes(platform),
        ],
        exception_handlers={HTTPException: _no_route},
        lifespan=partial(_lifespan, served, execute),
    )
    app.router.redirect_slashes = False  # a redirected POST would surprise a client more than a 404
    return app


@asynccontextmanager
async def _lifespan(served: Served, execute: bool | None, _: Starlette) -> AsyncIterator[None]:
    platform = served.platform
    executes = not platform.separate_workers if execute is None else execute
    async with platform, platform.execute(served.definitions) if executes else nullcontext():
        try:
            yield
        finally:
            await served.writes.wait()


def _check(workspace_id: str | None) -> None:
    if workspace_id is not None and not is_uuid(workspace_id):
        raise InvalidInputError(f"workspace_id must be a UUID, not {workspace_id!r}.")


async def _no_route(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    what = "There is nothing at" if status == 404 else f"{request.method} is not for"
    return error_response(status, Code.UNIMPLEMENTED, f"{what} {request.url.path!r}.", headers=headers)
