"""Options that select a target: a file on this machine, a platform over HTTP, or `module:attribute`."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property, wraps
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, NoReturn, ParamSpec

import typer

from gqlplugin.app import App
from gqlplugin.cli.output import CommandError, MissingExtraError, UsageError, safe, safe_lines
from gqlplugin.errors import DefinitionError
from gqlplugin.platform.embedded import EmbeddedPlatform

if TYPE_CHECKING:
    from gqlplugin.platform.tailor import TailorPlatform

_HOW = "write module:attribute, such as shop.main:app"
_LINES = 10
_EXTRAS = {
    "aiosqlite": "sqlalchemy",
    "jwt": "jwt",
    "sqlalchemy": "sqlalchemy",
    "stamina": "tailor",
    "temporalio": "temporal",
    "uvicorn": "server",
}
"""Which extra of ours brings what a module of the user's may need by what it imports of ours."""


def load_app(spec: str) -> App:
    """The app that a text such as `shop.main:app` means: an `App`, or a callable that needs no arguments and makes one.

    The current directory is on the path, as with `python -m`.

    Raises:
        UsageError: The module can't be imported, or has no such app.
    """
    found = find(spec)
    app = found if isinstance(found, App) else made(found, spec)
    if not isinstance(app, App):
        what = "makes" if app is not found else "is"
        raise UsageError(f"{spec!r} {what} a {type(app).__name__}, not an App: {_HOW}, made by define_app(...).")
    return app


def find(spec: str, what: str = "Application") -> object:
    """What is at a place in a module, such as `shop.main:app`.

    Raises:
        UsageError: The module can't be imported, or has no such attribute.
    """
    module_name, _, path = spec.partition(":")
    if not path or not all(part.isidentifier() for part in f"{module_name}.{path}".split(".")):
        raise UsageError(f"{what} {spec!r} is not a place in a module: {_HOW}.")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    with redirect_stdout(sys.stderr):  # a module that prints must not get between a command and its output
        return _attribute(_module(module_name), module_name, path)


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"There is no module {error.name!r}. Modules are looked for in the current directory, "
                f"{str(Path.cwd())!r}, and in what is installed."
            ) from error
        _refuse(f"Module {name!r} can't be imported", error)
    except (Exception, SystemExit) as error:  # the module's own, whatever it is
        _refuse(f"Module {name!r} can't be imported", error)


def _attribute(module: Any, module_name: str, path: str) -> object:
    found = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            apps = sorted(name for name, value in vars(module).items() if isinstance(value, App))
            hint = f" It has: {', '.join(f'{module_name}:{name}' for name in apps)}." if apps else ""
            raise UsageError(f"Module {module_name!r} has no {path!r}.{hint}") from error
    return found


def made(factory: object, spec: str) -> object:
    """What a callable makes that needs no arguments; anything else is itself.

    Raises:
        UsageError: It needs arguments, or fails.
    """
    if not callable(factory):
        return factory
    try:
        inspect.signature(factory).bind()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{spec!r} can't be called without arguments ({safe(str(error))}): name an App, or a callable that needs "
            "none."
        ) from error
    try:
        with redirect_stdout(sys.stderr):
            return factory()
    except (Exception, SystemExit) as error:  # the callable's own, whatever it is
        _refuse(f"Calling {spec!r} failed", error)


def _refuse(what: str, error: BaseException) -> NoReturn:
    where = _where(error)
    if isinstance(error, DefinitionError):
        raise UsageError(f"{what}{where}: {safe(error.problems[0])}", map(safe, error.problems[1:])) from error
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if extra := _EXTRAS.get((missing or "").partition(".")[0]):
        hint = f"If it is not installed: pip install 'gqlplugin[{extra}]'."
        raise UsageError(f"{what}{where}: there is no module {missing!r}.", [hint]) from error
    first, *more = safe_lines(str(error)) or ["no message"]
    details = [*more[:_LINES], "The traceback: gqlplugin --debug ..."]
    raise UsageError(f"{what}{where}: {type(error).__name__}: {first}", details) from error


def _where(error: BaseException) -> str:
    """The last place in code of the user's own, which is the first that may have to change."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not Path(frame.filename).is_relative_to(Path(__file__).parents[1])
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


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


P = ParamSpec("P")

_PANEL = "Where to look"

ApplicationOption = Annotated[
    str | None,
    typer.Option(
        "--application",
        "-A",
        metavar="MODULE:APP",
        help=f"The application: an App, or a callable that makes one. (Or: {APPLICATION}.)",
        rich_help_panel=_PANEL,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="FILE",
        help=f"The file with the runs, on this machine. (Or: {DATABASE}.)",
        rich_help_panel=_PANEL,
    ),
]
PlatformUrlOption = Annotated[
    str | None,
    typer.Option(
        "--platform-url",
        metavar="URL",
        help="A remote platform. The token is taken from TAILOR_PLATFORM_TOKEN, or from the profile. "
        "(Or: TAILOR_PLATFORM_URL.)",
        rich_help_panel=_PANEL,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="A profile of the Tailor Platform's configuration file. (Or: TAILOR_PLATFORM_PROFILE.)",
        rich_help_panel=_PANEL,
    ),
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace-id",
        metavar="UUID",
        help="The workspace on the remote platform. (Or: TAILOR_PLATFORM_WORKSPACE_ID.)",
        rich_help_panel=_PANEL,
    ),
]

_OPTIONS: Mapping[str, Any] = {
    "application": ApplicationOption,
    "database": DatabaseOption,
    "platform_url": PlatformUrlOption,
    "profile": ProfileOption,
    "workspace_id": WorkspaceOption,
}


def takes_target(command: Callable[Concatenate[Target, P], None]) -> Callable[..., None]:
    """Give a command the options that say where to look; it gets them as a `Target`, its first argument."""

    @wraps(command)
    def with_options(*args: P.args, **kwargs: P.kwargs) -> None:
        said: dict[str, Any] = {name: kwargs.pop(name) for name in _OPTIONS}
        target = Target(**said)
        command(target, *args, **kwargs)

    _, *own = signature(command, eval_str=True).parameters.values()
    shared = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=option) for name, option in _OPTIONS.items()
    ]
    own = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own]
    with_options.__signature__ = signature(command).replace(parameters=[*own, *shared])  # type: ignore[attr-defined]  # what inspect, and so typer, reads
    with_options.__annotations__ = {}
    return with_options
