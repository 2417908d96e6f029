"""Secrets that sign tokens."""

from __future__ import annotations

import hmac

from pydantic import SecretStr

from gqlplugin.errors import DefinitionError, SetupError
from gqlplugin.secret import Secret, SecretRef, reveal

MIN_BYTES = 32
"""Shorter secrets can be guessed from a token that they sign (RFC 7518, section 3.2)."""


def checked_secret(given: Secret | str, what: str, min_bytes: int = MIN_BYTES) -> Secret:
    """A secret as a definition takes one.

    Raises:
        DefinitionError: It is there, and too short.
    """
    if not isinstance(given, SecretRef | SecretStr | str):
        raise DefinitionError(f'{what} is a {type(given).__name__}: write secret("NAME").')
    kept = given if isinstance(given, SecretRef | SecretStr) else SecretStr(given)
    if isinstance(kept, SecretStr) and len(kept.get_secret_value().encode()) < min_bytes:
        raise DefinitionError(f"{what} {_too_short(min_bytes)}")
    return kept


def secret_bytes(secret: Secret, what: str, min_bytes: int = MIN_BYTES) -> bytes:
    """The value of a secret.

    Raises:
        SetupError: Its variable is not set, or too short.
    """
    value = reveal(secret).encode()
    if len(value) < min_bytes:
        raise SetupError(f"{what} {_too_short(min_bytes)}")
    return value


def derive(secret: bytes, *label: str) -> bytes:
    """32 bytes for the purpose that a label names; none tells anything of the secret or of another."""
    return hmac.digest(secret, "\0".join(label).encode(), "sha256")


def _too_short(min_bytes: int) -> str:
    return (
        f"has less than {min_bytes} bytes, and could be guessed: make one with "
        f"`python -c 'import secrets; print(secrets.token_urlsafe({min_bytes}))'`."
    )
