"""The secrets of a server. All follow from the operator token, so that none is kept anywhere."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from pydantic import SecretStr

from gqlplugin.errors import InvalidInputError
from gqlplugin.identity import MachineUser
from gqlplugin.oauth import sign, verify
from gqlplugin.oauth.secrets import derive
from gqlplugin.platform.base import AuthNamespace
from gqlplugin.platform.tailor.server.ids import client_id

_AUDIENCE = "tailor.v1"
_OPERATOR_TOKEN = re.compile(r"[!-~]{16,}")


class OperatorToken:
    """The token that may call every method.

    Args:
        token: At least 16 printable ASCII characters, no spaces.

    Raises:
        InvalidInputError: It is not that.
    """

    def __init__(self, token: SecretStr | str) -> None:
        self._token = token if isinstance(token, SecretStr) else SecretStr(token)
        if not _OPERATOR_TOKEN.fullmatch(self._token.get_secret_value()):
            raise InvalidInputError(
                "The operator token must have at least 16 printable ASCII characters and no spaces: "
                "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
            )

    def matches(self, token: bytes) -> bool:
        """Whether this is the token, in a time that tells nothing about it."""
        return hmac.compare_digest(token, self._token.get_secret_value().encode())

    def derive(self, *label: str) -> bytes:
        """32 bytes for the purpose that a label names; none tells anything of the token or of another."""
        return derive(self._token.get_secret_value().encode(), *label)


@dataclass(frozen=True, slots=True)
class MachineUserClient:
    """The OAuth client of a machine user."""

    user: MachineUser
    client_id: str
    client_secret: SecretStr


class MachineUserTokens:
    """Issues the tokens of machine users, and verifies them.

    Args:
        operator: What the secrets follow from.
        auth: Who there is.
        lifetime: How long a token is valid; at least one second.

    Raises:
        InvalidInputError: The lifetime is shorter.
    """

    def __init__(self, operator: OperatorToken, auth: AuthNamespace | None, lifetime: timedelta) -> None:
        if lifetime < timedelta(seconds=1):
            raise InvalidInputError(f"token_lifetime must be at least one second, not {lifetime}.")
        self.lifetime = lifetime
        self.namespace = "" if auth is None else auth.namespace
        self._key = operator.derive("machine user tokens")
        users = {} if auth is None else auth.machine_users
        self.clients: Mapping[str, MachineUserClient] = MappingProxyType(
            {
                name: MachineUserClient(
                    users[name],
                    client_id(self.namespace, name),
                    SecretStr(_text(operator.derive("client secret", self.namespace, name))),
                )
                for name in sorted(users)
            }
        )

    def authenticate(self, identifier: str, secret: str) -> MachineUser | None:
        """The machine user whose client ID and secret these are, in a time that tells nothing about the secret."""
        found = None
        for client in self.clients.values():
            same_secret = hmac.compare_digest(client.client_secret.get_secret_value().encode(), secret.encode())
            if same_secret and client.client_id == identifier:
                found = client.user
        return found

    def issue(self, user: MachineUser) -> str:
        """A token for one of the machine users (RFC 7519)."""
        claims = {"sub": user.name, "namespace": self.namespace}
        return sign(self._key, claims, audience=_AUDIENCE, lifetime=self.lifetime)

    def verify(self, token: str | bytes) -> tuple[str, str] | None:
        """The namespace and the name of the machine user that a token was issued to; None when it is not valid."""
        claims = verify(self._key, token, audience=_AUDIENCE, require=["namespace"])
        if claims is None:
            return None
        namespace, name = claims["namespace"], claims["sub"]
        return (namespace, name) if namespace == self.namespace and name in self.clients else None


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
