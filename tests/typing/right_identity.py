"""What type checkers take of identity: no line here is an error."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import SecretStr
from starlette.requests import HTTPConnection

from gqlplugin import (
    App,
    Authenticated,
    AuthRequest,
    JWTAuthenticator,
    Platform,
    RunTokens,
    User,
    create_asgi,
    define_auth,
    secret,
)

auth = define_auth(
    "shop-auth",
    Literal["manager", "clerk"],
    attributes={"manager": {"role": "MANAGER"}},
    secrets={"manager": secret("MANAGER_SECRET"), "clerk": SecretStr("x" * 32)},
)
auth.invoker("clerk")

run_tokens = RunTokens(secret("RUN_TOKEN_SECRET"))
token: str = run_tokens.issue("1", may_cancel=True)


def by_connection(connection: HTTPConnection) -> User:
    """One that was written for Starlette's class."""
    return User(connection.headers["x-user"], "user")


async def by_token(request: AuthRequest) -> User | Authenticated:
    """One that knows when a token ends."""
    if request.bearer_token is None or "anonymous" in request.init_payload:
        return User()
    return Authenticated(User(request.bearer_token, "user"), datetime.now(UTC))


def serve(app: App, platform: Platform) -> None:
    """Each of them can be asked."""
    create_asgi(app, platform, authenticate=by_connection, run_tokens=run_tokens)
    create_asgi(app, platform, authenticate=by_token, allowed_origins=["https://shop.example"])
    create_asgi(app, platform, authenticate=lambda request: User(request.headers["x-user"], "user"))
    create_asgi(app, platform, authenticate=JWTAuthenticator(secret="x" * 32, issuer="i", audience=["a", "b"]))
    JWTAuthenticator(
        jwks_url="https://id.example/", issuer="i", audience="a", attributes=lambda claims: {"role": claims["role"]}
    )
    JWTAuthenticator(public_keys={"kid": "PEM"}, issuer=["i"], audience="a", attributes=["role"])
