"""Tokens that the app issues: for machine users, and for single runs."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from gqlplugin.authentication.callers import Authenticated, caller_of
from gqlplugin.checks import caller_source, check_duration
from gqlplugin.errors import DefinitionError, UnauthenticatedError
from gqlplugin.identity import MachineUser, RunGrant, User
from gqlplugin.oauth import sign, subject_of, verify
from gqlplugin.platform.base import AuthNamespace
from gqlplugin.secret import Secret, checked_secret, derive, secret_bytes

_MACHINE_USER_AUDIENCE = "gqlplugin/machine-user"


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
        return self.prefix + sign(self._key(user.name), claims, audience=_MACHINE_USER_AUDIENCE, lifetime=self.lifetime)

    def verify(self, token: str) -> Authenticated:
        """The machine user that a token was issued to, as a caller.

        Raises:
            UnauthenticatedError: It is not valid, or no longer.
            FailedPreconditionError: As for `authenticate`.
        """
        signed = token.removeprefix(self.prefix)
        name = subject_of(signed) if signed != token else ""
        claims = verify(self._key(name), signed, audience=_MACHINE_USER_AUDIENCE) if name in self._secrets else None
        if claims is None:
            raise UnauthenticatedError
        return Authenticated(caller_of(self._auth, name), datetime.fromtimestamp(claims["exp"], UTC))

    def _key(self, name: str) -> bytes:
        return derive(self._secret_of(name), "machine user tokens", self._auth.namespace, name)

    def _secret_of(self, name: str) -> bytes:
        return secret_bytes(self._secrets[name], f"The secret of machine user {name!r}")


_RUN_AUDIENCE = "gqlplugin/run"
_WHAT = "The secret of RunTokens"


class RunTokens:
    """Issues tokens for single runs, for resolvers to put into their output; give it to `create_asgi(run_tokens=)` too.

    Whoever sends such a token, as a bearer token or in `connection_init`, may read that run by `workflowRun` and
    `workflowRunUpdates`, also cancel it if the token says so, and do nothing else.

    ```python
    run_tokens = RunTokens(secret("RUN_TOKEN_SECRET"))

    @create_resolver(name="placeOrder", operation="mutation")
    async def place_order(ctx: ResolverContext[NewOrder]) -> Placed:
        run_id = await order_processing.trigger(ctx.input)
        return Placed(run_id=run_id, token=run_tokens.issue(run_id))
    ```

    Args:
        secret: At least 32 bytes, the same in every process that issues or takes the tokens.
        lifetime: How long a token is valid; at least one second.

    Raises:
        DefinitionError: The secret or the lifetime is too short.
    """

    prefix = "gqlrun_"
    """What the tokens begin with, so that they are told apart from those of others."""

    def __init__(self, secret: Secret | str, lifetime: timedelta = timedelta(minutes=15)) -> None:
        check_duration(f"RunTokens at {caller_source()}", "lifetime", lifetime)
        if lifetime < timedelta(seconds=1):
            raise DefinitionError(f"RunTokens(lifetime=) must be at least one second, not {lifetime}.")
        self._secret = checked_secret(secret, _WHAT)
        self.lifetime = lifetime

    def issue(self, run_id: str, *, may_cancel: bool = False) -> str:
        """A token for one run.

        Args:
            run_id: The run. Whether there is one, and whether the caller may see it, is not asked.
            may_cancel: Whether the holder may also cancel it.

        Raises:
            FailedPreconditionError: The variable of the secret is not set, or too short.
        """
        claims = {"sub": run_id, "cancel": may_cancel}
        return self.prefix + sign(self._key(), claims, audience=_RUN_AUDIENCE, lifetime=self.lifetime)

    def verify(self, token: str) -> Authenticated:
        """The anonymous caller with the grant of a token.

        Raises:
            UnauthenticatedError: It is not valid, or no longer.
            FailedPreconditionError: As for `issue`.
        """
        signed = token.removeprefix(self.prefix)
        claims = verify(self._key(), signed, audience=_RUN_AUDIENCE, require=["cancel"]) if signed != token else None
        if claims is None:
            raise UnauthenticatedError
        grant = RunGrant(claims["sub"], may_cancel=claims["cancel"] is True)
        return Authenticated(User(), datetime.fromtimestamp(claims["exp"], UTC), grant)

    def _key(self) -> bytes:
        return derive(secret_bytes(self._secret, _WHAT), "run tokens")
