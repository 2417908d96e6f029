"""Who the shop's workflows run as, who is calling, and what they may see."""

from __future__ import annotations

import os
import secrets
from typing import Literal

from gqlplugin import AuthRequest, CallerPolicy, RunTokens, UnauthenticatedError, User, define_auth

auth = define_auth("my-auth", Literal["manager-machine-user"], attributes={"manager-machine-user": {"role": "MANAGER"}})

DEMO_TOKEN_PREFIX = "demo-"  # noqa: S105 - not a secret, which is the point

_ROLES = {"manager": {"role": "MANAGER"}}


def authenticate_demo(request: AuthRequest) -> User:
    """Believe any caller with the bearer token `demo-<name>`; `demo-manager` is a manager.

    For the demo only: anybody can claim any name. A real shop gives `create_asgi` a `JWTAuthenticator`, or looks up a
    session here.

    Raises:
        UnauthenticatedError: There is a token, and it is not of this form.
    """
    token = request.bearer_token
    if token is None:
        return User()
    name = token.removeprefix(DEMO_TOKEN_PREFIX)
    if name in ("", token):
        raise UnauthenticatedError(f"Say who you are: Authorization: Bearer {DEMO_TOKEN_PREFIX}<name>.")
    return User(id=name, type="user", attributes=_ROLES.get(name, {}))


def is_manager(user: User) -> bool:
    """Whether a caller, of flesh and blood or not, has the role."""
    return (user.attributes or {}).get("role") == "MANAGER"


policy = CallerPolicy(operators=is_manager)
"""Customers see, cancel and resume their own runs; managers all of them, which they answer too, and the executors."""

run_tokens = RunTokens(os.environ.get("SHOP_RUN_TOKEN_SECRET") or secrets.token_urlsafe(32))
"""Made by who starts a run, for whom it may concern; without SHOP_RUN_TOKEN_SECRET they end with this process."""
