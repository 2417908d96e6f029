"""The tokens with which machine users call."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from gqlplugin.authentication.machine_users import caller_of
from gqlplugin.authentication.request import Authenticated
from gqlplugin.errors import UnauthenticatedError
from gqlplugin.identity import MachineUser
from gqlplugin.oauth.secrets import derive, secret_bytes
from gqlplugin.oauth.signed import sign, subject_of, verify
from gqlplugin.platform.base import AuthNamespace
from gqlplugin.secret import Secret

_AUDIENCE = "gqlplugin/machine-user"


class MachineUserTokens:
    """Issues the tokens of machine users that have a secret, and verifies them.

    Tokens are signed with what follows from the user's secret: when that changes, they end.

    Args:
        auth: Who there is.
        secrets: By machine user.
        lifetime: How long a token is valid.
    """

    prefix = "gqlmachine_"
    """What the tokens begin with, so that they are told apart from those of others."""

    def __init__(
        self, auth: AuthNamespace, secrets: Mapping[str, Secret], lifetime: timedelta = timedelta(hours=1)
    ) -> None:
        self._auth = auth
        self._secrets = secrets
        self.lifetime = lifetime

    def authenticate(self, identifier: str, secret: str) -> MachineUser | None:
        """The machine user whose name and secret these are, in a time that tells nothing about the secret.

        Raises:
            FailedPreconditionError: The variable of its secret is not set, or too short.
        """
        has_secret = identifier in self._secrets
        expected = self._secret_of(identifier) if has_secret else b""
        is_same = hmac.compare_digest(sha256(expected).digest(), sha256(secret.encode()).digest())
        return self._auth.machine_users[identifier] if has_secret and is_same else None

    def issue(self, user: MachineUser) -> str:
        """A token for one of the machine users that have a secret."""
        claims = {"sub": user.name}
        return self.prefix + sign(self._key(user.name), claims, audience=_AUDIENCE, lifetime=self.lifetime)

    def verify(self, token: str) -> Authenticated:
        """The machine user that a token was issued to, as a caller.

        Raises:
            UnauthenticatedError: It is not valid, or no longer.
            FailedPreconditionError: As for `authenticate`.
        """
        signed = token.removeprefix(self.prefix)
        name = subject_of(signed) if signed != token else ""
        claims = verify(self._key(name), signed, audience=_AUDIENCE) if name in self._secrets else None
        if claims is None:
            raise UnauthenticatedError
        return Authenticated(caller_of(self._auth, name), datetime.fromtimestamp(claims["exp"], UTC))

    def _key(self, name: str) -> bytes:
        return derive(self._secret_of(name), "machine user tokens", self._auth.namespace, name)

    def _secret_of(self, name: str) -> bytes:
        return secret_bytes(self._secrets[name], f"The secret of machine user {name!r}")
