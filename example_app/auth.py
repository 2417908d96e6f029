"""Who the shop's workflows run as, who is calling, and what they may see."""

from __future__ import annotations

from typing import Literal

from starlette.requests import HTTPConnection

from gqlplugin import CallerPolicy, UnauthenticatedError, User, define_auth

auth = define_auth("my-auth", Literal["manager-machine-user"], attributes={"manager-machine-user": {"role": "MANAGER"}})

DEMO_TOKEN_PREFIX = "demo-"  # noqa: S105 - not a secret, which is the point

_ROLES = {"manager": {"role": "MANAGER"}}


def authenticate_demo(connection: HTTPConnection) -> User:
    """Believe any caller who says `Authorization: Bearer demo-<name>`; `demo-manager` is a manager.

    For the demo only: anybody can claim any name. A real shop verifies a signed token or a session here.

    Raises:
        UnauthenticatedError: There is a header, and it is not of this form.
    """
    header = connection.headers.get("authorization")
    if header is None:
        return User()
    scheme, _, token = header.partition(" ")
    name = token.removeprefix(DEMO_TOKEN_PREFIX)
    if scheme.lower() != "bearer" or name in ("", token):
        raise UnauthenticatedError(f"Say who you are: Authorization: Bearer {DEMO_TOKEN_PREFIX}<name>.")
    return User(id=name, type="user", attributes=_ROLES.get(name, {}))


def is_manager(user: User) -> bool:
    """Whether a caller, of flesh and blood or not, has the role."""
    return (user.attributes or {}).get("role") == "MANAGER"


policy = CallerPolicy(operators=is_manager)
"""Customers see their own runs; managers see all of them, and the executors."""
