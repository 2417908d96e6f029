"""Where the platform is and what it is asked for: arguments, then the environment (TAILOR.md sections 1 and 3)."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import httpx
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gqlplugin.errors import InvalidInputError

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
