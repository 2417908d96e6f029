"""Where the platform is, and the token that calls carry, refreshed when it expires."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

import httpx
import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gqlplugin.codec import describe
from gqlplugin.errors import InvalidInputError, PlatformCredentialsError, PlatformUnavailableError
from gqlplugin.platform.tailor.exchange import CallError, Flights, exchange
from gqlplugin.tasks import begin, result_of

DEFAULT_URL = "https://api.tailor.tech"
DEFAULT_CLIENT_ID = "cpoc_0Iudir72fqSpqC6GQ58ri1cLAqcq5vJl"


class TailorSettings(BaseSettings):
    """What the environment says; an empty variable is one that is not set."""

    model_config = SettingsConfigDict(case_sensitive=True, env_ignore_empty=True, hide_input_in_errors=True)

    url: str = Field(default=DEFAULT_URL, validation_alias=AliasChoices("TAILOR_PLATFORM_URL", "PLATFORM_URL"))
    token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("TAILOR_PLATFORM_TOKEN", "TAILOR_TOKEN")
    )
    workspace_id: str | None = Field(default=None, validation_alias="TAILOR_PLATFORM_WORKSPACE_ID")
    profile: str | None = Field(default=None, validation_alias="TAILOR_PLATFORM_PROFILE")
    client_id: str = Field(default=DEFAULT_CLIENT_ID, validation_alias="PLATFORM_OAUTH2_CLIENT_ID")
    config_home: str | None = Field(default=None, validation_alias="XDG_CONFIG_HOME")

    @property
    def profile_path(self) -> Path:
        """The file with users and profiles; a relative XDG_CONFIG_HOME is ignored, as its specification says."""
        home = self.config_home
        base = Path(home) if home is not None and Path(home).is_absolute() else Path(os.path.expanduser("~/.config"))  # noqa: PTH111 - needs no home
        return base / "tailor-platform" / "config.yaml"


def check_url(url: str) -> str:
    """The base URL without a slash at its end.

    Raises:
        InvalidInputError: It is not the http or https URL of a server, or holds credentials.
    """
    if "@" in url:  # said first, and without the URL, which holds a secret
        raise InvalidInputError("The platform's URL holds credentials: pass the token as token=... instead.")
    try:
        parsed = httpx.URL("" if re.search(r"\s", url) else url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidInputError(f"{url!r} is not the URL of a platform: use one like {DEFAULT_URL!r}.")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_workspace_id(workspace_id: str | None) -> str:
    """The workspace's ID.

    Raises:
        InvalidInputError: There is none, or it is not a UUID.
    """
    if not workspace_id:
        raise InvalidInputError(
            "No workspace is given: set TAILOR_PLATFORM_WORKSPACE_ID, pass workspace_id=..., or use a profile."
        )
    try:
        return str(UUID(workspace_id))
    except ValueError:
        raise InvalidInputError(
            f"The workspace ID {workspace_id!r} is not a UUID: see TAILOR_PLATFORM_WORKSPACE_ID and workspace_id=..."
        ) from None


_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """Leaves times as the text they are, so that they are written back as they were."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Login(_Part):
    """A user's tokens."""

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    token_expires_at: datetime | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When the access token ends, in UTC unless the file says otherwise."""
        moment = self.token_expires_at
        return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


class Profile(_Part):
    """A user and a workspace."""

    user: str | None = None
    workspace_id: str | None = None


class ProfileFile(_Part):
    """The file."""

    version: Literal[1]
    users: dict[str, Login] | None = Field(default_factory=dict)
    profiles: dict[str, Profile] | None = Field(default_factory=dict)
    current_user: str | None = None

    def profile(self, name: str, path: Path) -> Profile:
        """A profile by its name.

        Raises:
            PlatformCredentialsError: There is no such profile.
        """
        found = (self.profiles or {}).get(name)
        if found is None:
            known = ", ".join(sorted(self.profiles or {})) or "none"
            raise PlatformCredentialsError(f"{path} has no profile {name!r}; it has: {known}.")
        return found

    def login(self, user: str, path: Path) -> Login:
        """A user's tokens.

        Raises:
            PlatformCredentialsError: There is no such user.
        """
        found = (self.users or {}).get(user)
        if found is None:
            raise PlatformCredentialsError(f"{path} has no tokens of the user {user!r}: log in again.")
        return found


def read_profile_file(path: Path) -> ProfileFile | None:
    """The file, or None when there is none.

    Raises:
        PlatformCredentialsError: It can't be read, is malformed or of another version.
    """
    document = _load(path)
    if document is None:
        return None
    if document.get("version") != 1:
        raise PlatformCredentialsError(f"{path} is of a version that gqlplugin does not know: it knows version 1.")
    try:
        return ProfileFile.model_validate(document)
    except ValidationError as error:
        raise PlatformCredentialsError(f"{path} is malformed: {describe(error)}.") from None


def write_login(path: Path, user: str, login: Login) -> None:
    """Replace a user's tokens in the file, and keep everything else in it.

    Raises:
        OSError: It can't be written.
        PlatformCredentialsError: It is gone or malformed.
    """
    path = path.resolve()  # what a link leads to is replaced, not the link
    document = _load(path)
    users = document.get("users") if document is not None else None
    if document is None or not isinstance(users, dict) or not isinstance(users.get(user), dict):
        raise PlatformCredentialsError(f"{path} has no tokens of the user {user!r} any more.")
    users[user]["access_token"] = login.access_token.get_secret_value()
    if login.refresh_token is not None:
        users[user]["refresh_token"] = login.refresh_token.get_secret_value()
    if login.expires_at is not None:
        moment = login.expires_at.astimezone(UTC)
        users[user]["token_expires_at"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    _replace(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _replace(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # readable by its owner alone
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def _load(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise PlatformCredentialsError(f"{path} can't be read: {type(error).__name__}.") from None
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)  # the error's own text quotes the file, which holds tokens
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise PlatformCredentialsError(f"{path} is not valid YAML{where}.") from None
    if not isinstance(document, Mapping):
        raise PlatformCredentialsError(f"{path} is malformed: it holds no mapping.")
    return dict(document)


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
