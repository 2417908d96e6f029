"""Tokens that only whoever has the key can make: JSON Web Tokens (RFC 7519), each for one purpose."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gqlplugin.errors import missing_extra

try:
    import jwt
except ImportError as error:
    raise missing_extra("A token that the app issues", "jwt", error) from error

_ISSUER = "gqlplugin"
_ALGORITHM = "HS256"
_ALWAYS = ("iss", "aud", "sub", "iat", "exp")


def sign(key: bytes, claims: Mapping[str, Any], *, audience: str, lifetime: timedelta) -> str:
    """A token.

    Args:
        key: At least 32 bytes.
        claims: What it says, with its subject as `sub`.
        audience: What it is for.
        lifetime: How long it is valid, from now.
    """
    now = datetime.now(UTC)
    every = {**claims, "iss": _ISSUER, "aud": audience, "iat": now, "exp": now + lifetime}
    return jwt.encode(every, key, algorithm=_ALGORITHM)


def verify(key: bytes, token: str | bytes, *, audience: str, require: Collection[str] = ()) -> Mapping[str, Any] | None:
    """What a token says; None when `sign` did not make it with this key for this audience, or it has expired."""
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            issuer=_ISSUER,
            audience=audience,
            options={"require": [*_ALWAYS, *require]},
        )
    except jwt.InvalidTokenError:
        return None
    return claims


def subject_of(token: str) -> str:
    """Whom a token says that it is of, without any proof; empty when it says nothing."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get("sub", ""))
