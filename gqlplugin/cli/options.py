"""The options that say where to look, which the commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from gqlplugin.cli.target import APPLICATION, DATABASE, Target

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
