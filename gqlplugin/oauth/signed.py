"""Tokens that only whoever has the key can make: JSON Web Tokens (RFC 7519), each for one purpose."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from gqlplugin.errors import DefinitionError, FailedPreconditionError
from gqlplugin.secret import Secret, SecretRef, reveal

try:
    import jwt
except ImportError as error:
    raise ImportError("Tokens need pyjwt: pip install 'gqlplugin[jwt]'.") from error

MIN_SECRET_BYTES = 32
"""Shorter secrets can be guessed from a token that they sign (RFC 7518, section 3.2)."""

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


def checked_secret(given: Secret | str, what: str, min_bytes: int = MIN_SECRET_BYTES) -> Secret:
    """A secret as a definition takes one.

    Raises:
        DefinitionError: It is there, and too short.
    """
    kept = given if isinstance(given, SecretRef | SecretStr) else SecretStr(given)
    if isinstance(kept, SecretStr) and len(kept.get_secret_value().encode()) < min_bytes:
        raise DefinitionError(f"{what} {_too_short(min_bytes)}")
    return kept


def secret_bytes(secret: Secret, what: str, min_bytes: int = MIN_SECRET_BYTES) -> bytes:
    """The value of a secret.

    Raises:
        FailedPreconditionError: Its variable is not set, or too short.
    """
    value = reveal(secret).encode()
    if len(value) < min_bytes:
        raise FailedPreconditionError(f"{what} {_too_short(min_bytes)}")
    return value


def derive(secret: bytes, *label: str) -> bytes:
    """32 bytes for the purpose that a label names; none tells anything of the secret or of another."""
    return hmac.digest(secret, "\0".join(label).encode(), "sha256")


def _too_short(min_bytes: int) -> str:
    return (
        f"has less than {min_bytes} bytes, and could be guessed: make one with "
        f"`python -c 'import secrets; print(secrets.token_urlsafe({min_bytes}))'`."
    )
