"""Finds out who is calling: by the tokens that the app issues itself, else by its own `authenticate`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from gqlplugin.authentication.request import Authenticate, Authenticated, AuthRequest, call
from gqlplugin.errors import AuthenticationUnavailableError, FailedPreconditionError, UnauthenticatedError
from gqlplugin.identity import User

_logger = logging.getLogger("gqlplugin.authentication")
_ANONYMOUS = Authenticated(User())


class Verifier(Protocol):
    """Knows the tokens that begin with a prefix."""

    @property
    def prefix(self) -> str: ...

    @property
    def verify(self) -> Callable[[str], Authenticated]: ...


class Callers:
    """Tells the caller of requests.

    Args:
        authenticate: Is asked about requests without a token of one of the verifiers.
        verifiers: Those of the app's own tokens. Without `authenticate`, other tokens are refused.
    """

    def __init__(self, authenticate: Authenticate | None, *verifiers: Verifier | None) -> None:
        self._authenticate = authenticate
        self._verifiers: Mapping[str, Verifier] = {one.prefix: one for one in verifiers if one is not None}
        self.are_known = bool(authenticate or self._verifiers)
        """Whether callers are other than anonymous at all."""

    async def of(self, request: AuthRequest) -> Authenticated:
        """Who is calling.

        Raises:
            GqlpluginError: The caller is refused.
        """
        token = self._token_of(request) if self._verifiers else None
        if token is not None:
            for prefix, verifier in self._verifiers.items():
                if token.startswith(prefix):
                    return _verified(verifier, token)
        if self._authenticate is not None:
            caller = await call(self._authenticate, request)
            if caller.expires_at is not None and caller.expires_at <= datetime.now(UTC):
                raise UnauthenticatedError
            return caller
        if token is not None:
            raise UnauthenticatedError
        return _ANONYMOUS

    def _token_of(self, request: AuthRequest) -> str | None:
        try:
            return request.bearer_token
        except UnauthenticatedError:
            if self._authenticate is None:
                raise
            return None  # it may know another scheme


def _verified(verifier: Verifier, token: str) -> Authenticated:
    try:
        return verifier.verify(token)
    except FailedPreconditionError as error:
        _logger.error("Tokens that begin with %s can't be verified here: %s", verifier.prefix, error)
    raise AuthenticationUnavailableError  # outside of the handler, whose text is for the operators
