"""Where a command looks: a file on this machine, or a platform that answers over HTTP."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gqlplugin.app import App
from gqlplugin.cli.failure import CommandError, MissingExtraError, UsageError
from gqlplugin.cli.loading import load_app
from gqlplugin.platform.embedded import EmbeddedPlatform

if TYPE_CHECKING:
    from gqlplugin.platform.tailor import TailorPlatform

APPLICATION = "GQLPLUGIN_APPLICATION"
DATABASE = "GQLPLUGIN_DATABASE"
# PLATFORM_URL is not among them: others use the name as well, and a request carries a token.
REMOTE = (
    "TAILOR_PLATFORM_URL",
    "TAILOR_PLATFORM_TOKEN",
    "TAILOR_TOKEN",
    "TAILOR_PLATFORM_PROFILE",
    "TAILOR_PLATFORM_WORKSPACE_ID",
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was said about where to look. Options beat the environment.

    Attributes:
        application: As `module:attribute`.
        database: A file with runs.
        platform_url: Of a remote platform, as are `profile` and `workspace_id`.
        profile: See there.
        workspace_id: See there.
        environment: What to look in for what was not said.

    Raises:
        UsageError: The options name both a file and a remote platform.
    """

    application: str | None = None
    database: str | None = None
    platform_url: str | None = None
    profile: str | None = None
    workspace_id: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def __post_init__(self) -> None:
        if self.database is not None and (remote := self._remote_options()):
            raise UsageError(
                f"--database is a file on this machine and {next(iter(remote))} a remote platform: give one of them."
            )

    @cached_property
    def is_remote(self) -> bool:
        """Whether to ask a remote platform.

        Raises:
            UsageError: Nothing says where to look, or the environment says both.
        """
        if self.database is not None:
            return False
        if self._remote_options():
            return True
        remote = [name for name in REMOTE if self.environment.get(name)]
        if remote and self.environment.get(DATABASE):
            raise UsageError(
                f"The environment has both {DATABASE}, a file on this machine, and {remote[0]}, a remote platform: "
                "say which with --database or --platform-url."
            )
        if remote:
            return True
        if self.environment.get(DATABASE):
            return False
        raise UsageError("Where to look is not said.", _both_ways("-A module:app --database runs.sqlite"))

    @cached_property
    def app(self) -> App | None:
        """The application, where one is named.

        Raises:
            UsageError: It can't be loaded.
        """
        spec = self.application or self.environment.get(APPLICATION)
        return load_app(spec) if spec else None

    def need_app(self) -> App:
        """The application.

        Raises:
            UsageError: None is named, or it can't be loaded.
        """
        if self.app is None:
            raise UsageError(
                "Which application? Name it with -A module:app, such as -A shop.main:app, "
                f"or set {APPLICATION}=shop.main:app."
            )
        return self.app

    def definitions(self) -> App | None:
        """The application to read definitions from, for which no file is needed; None when a remote platform has them.

        Raises:
            UsageError: Neither is said.
        """
        if self._remote_options():
            return None
        if self.application or self.database is not None:
            return self.need_app()
        if any(self.environment.get(name) for name in (*REMOTE, DATABASE)):
            return None if self.is_remote else self.need_app()
        if self.environment.get(APPLICATION):
            return self.need_app()
        raise UsageError("Where to look is not said.", _both_ways())

    def file(self, *, made: bool = False) -> str:
        """The path of the database.

        Args:
            made: Whether the command makes the file when it isn't there.

        Raises:
            UsageError: None is named.
            CommandError: It isn't there.
        """
        path = self.database if self.database is not None else self.environment.get(DATABASE)
        if not path:
            raise UsageError(f"Which file has the runs? Name it with --database FILE, or set {DATABASE}.")
        if not made and not Path(path).exists():
            serve = self.command("serve") if self.application else "gqlplugin serve -A module:app --database " + path
            raise CommandError(f"There is no database {path!r}: `{serve}` makes it.")
        return path

    def platform(self) -> EmbeddedPlatform | TailorPlatform:
        """The platform to ask; enter it before.

        Raises:
            UsageError: Nothing says where to look, or the environment says both.
            CommandError: The file isn't there.
        """
        return self.remote_platform() if self.is_remote else EmbeddedPlatform(self.file())

    def remote_platform(self) -> TailorPlatform:
        """The remote platform; enter it before.

        Raises:
            MissingExtraError: What it needs is not installed.
        """
        try:
            from gqlplugin.platform.tailor import TailorPlatform  # noqa: PLC0415 - quick to start without
        except ModuleNotFoundError as error:
            raise MissingExtraError("A remote platform", "tailor", error) from error
        return TailorPlatform(self.platform_url, workspace_id=self.workspace_id, profile=self.profile)

    def command(self, *words: str) -> str:
        """A command that looks in the same place, to be typed next."""
        options = [("-A", self.application), ("--database", self.database), *self._remote_options().items()]
        return shlex.join(["gqlplugin", *words, *(part for name, value in options if value for part in (name, value))])

    def _remote_options(self) -> dict[str, str]:
        options = {
            "--platform-url": self.platform_url,
            "--profile": self.profile,
            "--workspace-id": self.workspace_id,
        }
        return {name: value for name, value in options.items() if value is not None}


def _both_ways(local: str = "-A module:app") -> list[str]:
    return [
        f"On this machine:       {local}",
        f"            or set     {APPLICATION} and {DATABASE}",
        "On a remote platform:  --platform-url URL --workspace-id UUID",
        "            or set     TAILOR_PLATFORM_URL, TAILOR_PLATFORM_TOKEN and TAILOR_PLATFORM_WORKSPACE_ID",
    ]
