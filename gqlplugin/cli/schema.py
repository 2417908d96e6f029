"""`gqlplugin schema`: the GraphQL schema of an application, and what a change of it breaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gqlplugin.cli.output import CommandError, note, safe, say
from gqlplugin.cli.target import Target, takes_target

if TYPE_CHECKING:
    from graphql import GraphQLSchema

commands = typer.Typer(no_args_is_help=True, help="Export the GraphQL schema, and see what a change breaks.")


@commands.command("export")
@takes_target
def export(
    target: Target,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there, not to stdout.")
    ] = None,
) -> None:
    """Print the schema of the application as SDL."""
    sdl = _sdl(target)
    if output is None:
        typer.echo(sdl)
        return
    try:
        output.write_text(f"{sdl}\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"The schema can't be written to {str(output)!r}: {error.strerror}.") from error


@commands.command("check")
@takes_target
def check(
    target: Target,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A file with the schema that clients know, as SDL.")],
) -> None:
    """Compare the schema of the application with an older one; exit with 1 when clients would break."""
    from graphql import find_breaking_changes, find_dangerous_changes  # noqa: PLC0415 - quick to start without

    try:
        text = old.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"The schema {str(old)!r} can't be read: {error.strerror}.") from error
    before, now = _schema(text, str(old)), _schema(_sdl(target), "of the application")
    breaking = [change.description for change in find_breaking_changes(before, now)]
    dangerous = [change.description for change in find_dangerous_changes(before, now)]
    for kind, style, changes in (("BREAKING", "bold red", breaking), ("DANGEROUS", "yellow", dangerous)):
        for description in changes:
            say(Text.assemble((f"{kind:9}", style), "  ", safe(description)))
    if breaking:
        raise typer.Exit(1)
    note("Nothing breaks." if dangerous else "Nothing breaks, and nothing is dangerous.")


def _sdl(target: Target) -> str:
    app = target.need_app()
    from gqlplugin.graphql.schema import create_schema  # noqa: PLC0415 - quick to start without

    return create_schema(app).as_str()


def _schema(sdl: str, what: str) -> GraphQLSchema:
    from graphql import GraphQLSyntaxError, build_schema  # noqa: PLC0415 - quick to start without

    try:
        return build_schema(sdl)
    except GraphQLSyntaxError as error:
        where = f" in line {error.locations[0].line}" if error.locations else ""
        raise CommandError(f"The schema {what!r} is not SDL{where}: {safe(error.message)}") from error
    except TypeError as error:
        raise CommandError(f"The schema {what!r} is not valid: {safe(str(error))}") from error
