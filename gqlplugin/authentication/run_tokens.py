"""Run-scoped tokens: with one, a browser follows one run, and does nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gqlplugin.authentication.request import Authenticated
from gqlplugin.checks import check_duration
from gqlplugin.errors import DefinitionError, UnauthenticatedError
from gqlplugin.identity import RunGrant, User
from gqlplugin.oauth.secrets import checked_secret, derive, secret_bytes
from gqlplugin.oauth.signed import sign, verify
from gqlplugin.secret import Secret
from gqlplugin.source import caller_source

_AUDIENCE = "gqlplugin/run"
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
        return self.prefix + sign(self._key(), claims, audience=_AUDIENCE, lifetime=self.lifetime)

    def verify(self, token: str) -> Authenticated:
        """The anonymous caller with the grant of a token.

        Raises:
            UnauthenticatedError: It is not valid, or no longer.
            FailedPreconditionError: As for `issue`.
        """
        signed = token.removeprefix(self.prefix)
        claims = verify(self._key(), signed, audience=_AUDIENCE, require=["cancel"]) if signed != token else None
        if claims is None:
            raise UnauthenticatedError
        grant = RunGrant(claims["sub"], may_cancel=claims["cancel"] is True)
        return Authenticated(User(), datetime.fromtimestamp(claims["exp"], UTC), grant)

    def _key(self) -> bytes:
        return derive(secret_bytes(self._secret, _WHAT), "run tokens")
