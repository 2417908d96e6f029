"""Who a request comes from: bearer tokens (RFC 6750), cookies, machine users, and the app's `authenticate=`."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import isawaitable
from types import MappingProxyType
from typing import Protocol

from starlette.requests import HTTPConnection
from starlette.types import Scope

from gqlplugin.errors import AuthenticationUnavailableError, FailedPreconditionError, UnauthenticatedError
from gqlplugin.identity import RunGrant, User
from gqlplugin.platform.base import AuthNamespace, machine_user_id


def caller_of(auth: AuthNamespace, name: str) -> User:
    """A machine user as a caller.

    Its ID follows from namespace and name, and is the one that the platform server gives it.
    """
    return User(
        id=machine_user_id(auth.namespace, name),
        type="machine_user",
        attributes=dict(auth.machine_users[name].attributes),
    )


_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)  # RFC 6750, section 2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_NO_PAYLOAD: Mapping[str, object] = MappingProxyType({})


class AuthRequest(HTTPConnection):
    """A request, or a WebSocket whose `connection_init` has come, as an authenticator sees it.

    ```python
    async def authenticate(request: AuthRequest) -> User:
        return await find_user(request.cookies.get("session") or request.bearer_token)
    ```

    Attributes:
        init_payload: The payload of `connection_init` (graphql-transport-ws); empty for a request.
    """

    def __init__(self, scope: Scope, init_payload: Mapping[str, object] = _NO_PAYLOAD) -> None:
        super().__init__(scope)
        self.init_payload = init_payload

    @property
    def bearer_token(self) -> str | None:
        """The token of the `Authorization` header, else that of `authorization` in the payload; None without one.

        In the payload the word `Bearer` may be left out, as browsers can send no header with a WebSocket.

        Raises:
            UnauthenticatedError: It is malformed, of another scheme, or given more than once.
        """
        headers = self.headers.getlist("authorization")
        if len(headers) > 1:
            raise UnauthenticatedError
        if headers:
            return _token_in(_BEARER, headers[0])
        given = {value for name in ("authorization", "Authorization") if (value := self._in_payload(name))}
        if len(given) > 1:
            raise UnauthenticatedError
        for value in given:
            return value if _TOKEN.fullmatch(value) else _token_in(_BEARER, value)
        return None

    def _in_payload(self, name: str) -> str | None:
        value = self.init_payload.get(name)
        if value is not None and not isinstance(value, str):
            raise UnauthenticatedError
        return value


def _token_in(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.fullmatch(text.strip())
    if found is None:
        raise UnauthenticatedError
    return found[1]


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A caller with what else is known of the call; an authenticator may return it instead of a `User`.

    Attributes:
        user: The caller.
        expires_at: When a WebSocket of the caller is closed, and a stream ended; None for never.
        grant: What the caller may do and nothing else, for the holder of a run-scoped token.
    """

    user: User
    expires_at: datetime | None = None
    grant: RunGrant | None = None


Authenticate = Callable[[AuthRequest], User | Authenticated | Awaitable[User | Authenticated]]
"""Tells the caller of a request or WebSocket; raises `UnauthenticatedError` to refuse it."""


async def call(authenticate: Authenticate, request: AuthRequest) -> Authenticated:
    """What an authenticator says, plainly or not."""
    answer = authenticate(request)
    if isawaitable(answer):
        answer = await answer
    return answer if isinstance(answer, Authenticated) else Authenticated(answer)


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
