"""Refreshing a token: discovery (RFC 8414) and the refresh grant (RFC 6749, section 6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from gqlplugin.errors import PlatformCredentialsError, PlatformUnavailableError
from gqlplugin.platform.tailor.errors import CallError
from gqlplugin.platform.tailor.exchange import exchange
from gqlplugin.platform.tailor.profile import Login

M = TypeVar("M", bound=BaseModel)

_DISCOVERY = "/.well-known/oauth-authorization-server/oauth2/platform"
_DEFAULT_LIFETIME_SECONDS = 3600
_NOT_NOW = "The platform's token can't be refreshed right now: try again later."


class _Metadata(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    token_endpoint: str


class _Tokens(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    access_token: SecretStr
    refresh_token: SecretStr | None = None
    expires_in: float | None = Field(default=None, ge=0, le=10**9)


class TokenEndpoint:
    """Where tokens are refreshed.

    Args:
        http: Sends the requests.
        url: The platform's base URL.
        client_id: The public client that the tokens were made for.
        timeout: For each of its two requests.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, client_id: str, timeout: timedelta) -> None:
        self._http = http
        self._url = url
        self._client_id = client_id
        self._timeout = timeout.total_seconds()

    async def refresh(self, refresh_token: SecretStr) -> Login:
        """New tokens for a refresh token.

        Raises:
            PlatformCredentialsError: The refresh token is refused.
            PlatformUnavailableError: The server can't be reached, or makes no sense.
        """
        metadata = await self._answer(self._http.build_request("GET", self._url + _DISCOVERY), _Metadata)
        endpoint = self._trusted(metadata.token_endpoint)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token.get_secret_value(),
            "client_id": self._client_id,
        }
        tokens = await self._answer(self._http.build_request("POST", endpoint, data=form), _Tokens)
        lifetime = timedelta(seconds=tokens.expires_in or _DEFAULT_LIFETIME_SECONDS)
        return Login(
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token or refresh_token,
            token_expires_at=datetime.now(UTC) + lifetime,
        )

    def _trusted(self, endpoint: str) -> httpx.URL:
        base = httpx.URL(self._url)
        try:
            url = httpx.URL(endpoint)
        except httpx.InvalidURL:
            url = httpx.URL("")
        same_origin = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
        if not url.host or url.userinfo or not (url.scheme == "https" or same_origin):
            raise not_refreshed("the platform names a token endpoint that is neither https nor its own")
        return url

    async def _answer(self, request: httpx.Request, kind: type[M]) -> M:
        try:
            async with asyncio.timeout(self._timeout):
                got = await exchange(self._http, request)
        except (CallError, TimeoutError) as error:
            raise PlatformUnavailableError(_NOT_NOW) from error
        if 400 <= got.status < 500 and got.status not in (408, 429):
            raise not_refreshed(f"the refresh token was refused with HTTP {got.status}: log in again")
        if got.status != 200:
            raise PlatformUnavailableError(_NOT_NOW) from CallError("unavailable", "no new token", status=got.status)
        try:
            return kind.model_validate_json(got.content)
        except ValidationError:
            raise PlatformUnavailableError(_NOT_NOW) from CallError("unknown", f"the answer is no {kind.__name__}")


def not_refreshed(reason: str) -> PlatformCredentialsError:
    """The error of calls that have no token any more; the reason is for operators, not for the callers of the API."""
    error = PlatformCredentialsError()
    error.__cause__ = CallError("unauthenticated", reason, sent=False)
    return error
