"""Secrets: where a definition reads them from, and the rules for those that sign tokens."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass

from pydantic import SecretStr

from gqlplugin.checks import check_type
from gqlplugin.errors import DefinitionError, SetupError


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A secret in an environment variable. Made by `secret`; shows its name, never its value."""

    name: str


Secret = SecretRef | SecretStr
"""A secret as definitions take one: `secret("NAME")`, or pydantic's `SecretStr` from settings of your own."""


def secret(name: str) -> SecretRef:
    """Refer to the secret in an environment variable, which is read each time the secret is needed.

    ```python
    webhook_operation("https://example.com/hook", headers={"authorization": secret("HOOK_AUTHORIZATION")})
    ```

    Args:
        name: The variable's name.

    Raises:
        DefinitionError: It can't be the name of a variable.
    """
    check_type("secret", "name", name, str, 'secret("HOOK_SECRET")')
    if not name.isidentifier():
        raise DefinitionError(f"secret({name!r}) takes the name of an environment variable, such as HOOK_SECRET.")
    return SecretRef(name)


def reveal(given: Secret) -> str:
    """The value of a secret: for what needs it, never for a log.

    Raises:
        SetupError: It is empty, or its variable is not set.
    """
    if isinstance(given, SecretStr):
        if value := given.get_secret_value():
            return value
        raise SetupError("A secret is empty.")
    if found := os.environ.get(given.name):
        return found
    raise SetupError(f"The secret {given.name} is not set: export {given.name}=....")


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
