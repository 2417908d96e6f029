"""The `gqlplugin` command: its options, its commands, and how it ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import typer
from rich.text import Text

from gqlplugin.cli import executor, machineuser, schema, workflow
from gqlplugin.cli.output import CommandError, log_nothing, note, prepare_streams, safe, safe_lines
from gqlplugin.cli.serve import serve, serve_platform, worker
from gqlplugin.errors import GqlpluginError

FAILED = 1
_HELP = """
Start durable workflows, follow their runs, and serve the GraphQL API.

Commands look in a file on this machine (-A module:app --database FILE), or on a remote platform (--platform-url URL).
"""

cli = typer.Typer(
    name="gqlplugin",
    help=_HELP,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
cli.add_typer(workflow.commands, name="workflow")
cli.add_typer(workflow.workspace, name="workspace")
cli.add_typer(executor.commands, name="executor")
cli.add_typer(machineuser.commands, name="machineuser")
cli.add_typer(schema.commands, name="schema")
cli.command("serve")(serve)
cli.command("worker")(worker)
cli.command("serve-platform")(serve_platform)


@dataclass(slots=True)
class Session:
    """What holds for the whole of a command.

    Attributes:
        debug: Show the traceback of an error.
    """

    debug: bool = False


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gqlplugin {version('gqlplugin')}")
        raise typer.Exit


@cli.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    session: Session = context.obj
    session.debug = debug


def run(args: Sequence[str]) -> int:
    """Run a command, and return its exit code: 0 success, 1 a failure, 2 a wrong use, 3 out of time, 130 interrupted.

    Args:
        args: What was typed after the program's name.
    """
    prepare_streams()
    log_nothing()
    session = Session()
    command = typer.main.get_command(cli)
    try:
        code = command.main(args=list(args), prog_name="gqlplugin", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except BrokenPipeError:
        # who read the output has seen enough; what is left in the buffer must not be an error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except typer.TyperException as error:
        _show_usage(error)
        return error.exit_code
    except CommandError as error:
        _show(str(error), error.details, error, session)
        return error.exit_code
    except GqlpluginError as error:
        _show(error.message, _causes(error), error, session)
        return FAILED
    except Exception as error:
        details = [] if session.debug else ["This is unexpected. The traceback: gqlplugin --debug ..."]
        _show(f"{type(error).__name__}: {error}", details, error, session)
        return FAILED
    return code if isinstance(code, int) else 0


def _show_usage(error: typer.TyperException) -> None:
    context: typer.Context | None = getattr(error, "ctx", None)
    message = error.format_message()
    if not message:  # the help was asked for by typing nothing, and is printed
        return
    if context is not None:
        note(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
    _show_error(message, ())


def _show(message: str, details: Sequence[str], error: BaseException, session: Session) -> None:
    if session.debug:
        note("\n".join(safe_lines("".join(traceback.format_exception(error)))))
    _show_error(message, details)


def _show_error(message: str, details: Sequence[str]) -> None:
    lines = safe_lines(message) or ["unknown"]
    note(Text.assemble(("Error: ", "bold red"), "\n".join(lines)), style="")
    for line in details:
        note(f"  {safe(line)}", style="")


def _causes(error: GqlpluginError) -> list[str]:
    """What lies behind an error, which is for operators: those who type commands."""
    causes: list[str] = []
    cause = error.__cause__
    while cause is not None:
        text = next(iter(safe_lines(str(cause))), "")
        if error.message not in text:
            causes.append(f"because of {type(cause).__name__}: {text}".rstrip(": "))
        cause = cause.__cause__
    return list(dict.fromkeys(causes))
