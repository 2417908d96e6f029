"""The profile file of the vendor's command line: users with their tokens, and profiles (TAILOR.md section 3)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from gqlplugin.codec import describe
from gqlplugin.errors import PlatformCredentialsError

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
