"""Machine users as callers."""

from __future__ import annotations

from gqlplugin.identity import User
from gqlplugin.platform.base import AuthNamespace
from gqlplugin.platform.ids import machine_user_id


def caller_of(auth: AuthNamespace, name: str) -> User:
    """A machine user as a caller.

    Its ID follows from namespace and name, and is the one that the platform server gives it.
    """
    return User(
        id=machine_user_id(auth.namespace, name),
        type="machine_user",
        attributes=dict(auth.machine_users[name].attributes),
    )
