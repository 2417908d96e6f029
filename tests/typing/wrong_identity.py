"""What type checkers refuse of identity: each line marked `error` is an error, and no other line is."""

from typing import Literal

from gqlplugin import App, AuthRequest, JWTAuthenticator, Platform, RunTokens, create_asgi, define_auth, secret

define_auth("a", Literal["manager"], secrets={"manager": "in the code"})  # error: a secret is not written down

auth = define_auth("a", Literal["manager"], secrets={"manager": secret("X")})
auth.invoker("clerk")  # error: no such machine user

JWTAuthenticator(secret="x" * 32, issuer="i")  # error: for whom tokens are must be said
JWTAuthenticator(secret=b"x" * 32, issuer="i", audience="a")  # error: a secret is a text
JWTAuthenticator(secret="x" * 32, issuer="i", audience="a", leeway=10)  # error: seconds or minutes
RunTokens("x" * 32, lifetime=900)  # error: seconds or minutes


def by_name(request: AuthRequest) -> str:
    """Tells a name and no caller."""
    return request.headers["x-user"]


def serve(app: App, platform: Platform) -> None:
    """Serves it."""
    create_asgi(app, platform, authenticate=by_name)  # error: a caller is a User
    create_asgi(app, platform, run_tokens="secret")  # error: give RunTokens
