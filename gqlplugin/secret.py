"""Secrets by reference: definitions name them, and their values are looked up when they are needed."""

from __future__ import annotations

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
