"""The token that calls carry: a given one, or the one of a user in the profile file, which is refreshed in time."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from gqlplugin.errors import PlatformCredentialsError
from gqlplugin.platform.tailor.flights import Flights
from gqlplugin.platform.tailor.oauth import TokenEndpoint, not_refreshed
from gqlplugin.platform.tailor.profile import Login, read_profile_file, write_login
from gqlplugin.platform.tailor.settings import TailorSettings
from gqlplugin.tasks import begin, result_of

_LEEWAY = timedelta(seconds=30)
_PATIENCE_SECONDS = 1.0

_logger = logging.getLogger("gqlplugin.tailor")


class Credentials(Protocol):
    """Gives calls their token."""

    async def token(self) -> SecretStr:
        """The token to send now."""
        ...

    async def renew(self, refused: SecretStr) -> bool:
        """Whether there is another token, now that the server refused one."""
        ...

    async def aclose(self) -> None:
        """Wait for what is under way."""
        ...


class FixedToken:
    """A token that was given."""

    def __init__(self, token: SecretStr) -> None:
        self._token = check_token(token)

    async def token(self) -> SecretStr:
        """The token."""
        return self._token

    async def renew(self, refused: SecretStr) -> bool:  # noqa: ARG002 - of the protocol
        """There is no other."""
        return False

    async def aclose(self) -> None:
        """Nothing is under way."""


class ProfileToken:
    """The token of a user in the profile file.

    Args:
        path: The file.
        user: Whose token.
        login: What the file says of it.
        endpoint: Where tokens are refreshed.
    """

    def __init__(self, path: Path, user: str, login: Login, endpoint: TokenEndpoint) -> None:
        self._path = path
        self._user = user
        self._login = login
        self._endpoint = endpoint
        self._flights: Flights[None] = Flights()

    async def token(self) -> SecretStr:
        """The token, refreshed when its time is over, or will be in 30 seconds.

        While it is valid, a refresh that takes long is not waited for.

        Raises:
            PlatformCredentialsError: It can't be refreshed.
            PlatformUnavailableError: The server that refreshes it can't be reached.
        """
        if _is_over(self._login):
            refreshing = begin(self._flights.join("refresh", self._refresh))
            await asyncio.wait([refreshing], timeout=_PATIENCE_SECONDS)
            if _is_over(self._login, timedelta(0)):
                await result_of(refreshing)
        return self._login.access_token

    async def renew(self, refused: SecretStr) -> bool:
        """Refresh the token, unless somebody has done so meanwhile."""
        if self._login.access_token == refused:
            await self._flights.join("refresh", self._refresh)
        return self._login.access_token != refused

    async def aclose(self) -> None:
        """Let a refresh end: it may have used up the only refresh token there is."""
        await self._flights.land()

    async def _refresh(self) -> None:
        known = await asyncio.to_thread(_login_in_file, self._path, self._user) or self._login
        if known.access_token != self._login.access_token and not _is_over(known):
            self._login = known  # another process has refreshed it
            return
        if known.refresh_token is None:
            raise not_refreshed(f"the token of {self._user!r} in {self._path} has expired: log in again")
        login = await self._endpoint.refresh(known.refresh_token)
        check_token(login.access_token)
        self._login = login
        try:
            await asyncio.to_thread(write_login, self._path, self._user, login)
        except (OSError, RuntimeError, PlatformCredentialsError) as error:  # RuntimeError: there is no thread for it
            _logger.warning("The refreshed token can't be written back to %s: %s", self._path, type(error).__name__)


def check_token(token: SecretStr) -> SecretStr:
    """Refuse a token that can't be sent in a header.

    Raises:
        PlatformCredentialsError: It is empty, or holds other characters than visible ASCII ones.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", token.get_secret_value()):
        raise PlatformCredentialsError("The platform's token is empty, or holds characters that no token can have.")
    return token


def read_login(settings: TailorSettings, profile: str | None) -> tuple[str, Login]:
    """The user of a profile, or the current one, and the tokens of that user.

    Raises:
        PlatformCredentialsError: The file is not there or has no such profile or user.
    """
    path = settings.profile_path
    file = read_profile_file(path)
    if file is None:
        raise PlatformCredentialsError(
            f"No token is given: set TAILOR_PLATFORM_TOKEN, pass token=..., or log in (there is no {path})."
        )
    user = file.current_user if profile is None else file.profile(profile, path).user
    if not user:
        raise PlatformCredentialsError(
            f"No token is given, and {path} names no user for it: set TAILOR_PLATFORM_TOKEN, pass token=..., or log in."
        )
    login = file.login(user, path)
    check_token(login.access_token)
    return user, login


def read_workspace_id(settings: TailorSettings, profile: str | None) -> str | None:
    """The workspace of a profile; None when there is no profile.

    Raises:
        PlatformCredentialsError: The file is not there or has no such profile.
    """
    if profile is None:
        return None
    path = settings.profile_path
    file = read_profile_file(path)
    if file is None:
        raise PlatformCredentialsError(f"There is no profile {profile!r}: there is no {path}.")
    return file.profile(profile, path).workspace_id


def _login_in_file(path: Path, user: str) -> Login | None:
    try:
        file = read_profile_file(path)
    except PlatformCredentialsError:
        return None  # the tokens in memory are still good
    return None if file is None else (file.users or {}).get(user)


def _is_over(login: Login, leeway: timedelta = _LEEWAY) -> bool:
    return login.expires_at is not None and login.expires_at <= datetime.now(UTC) + leeway
