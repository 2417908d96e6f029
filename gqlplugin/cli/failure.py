"""How a command ends when it can't do what was asked."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

from gqlplugin.app import App
from gqlplugin.cli.text import safe
from gqlplugin.errors import InvalidInputError, missing_extra


class CommandError(Exception):
    """The command can't go on.

    Args:
        message: What was wrong, and what to do.
        details: Lines that belong below it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, details: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class UsageError(CommandError):
    """What was typed, or what the environment says, can't be meant."""

    exit_code = 2


class MissingExtraError(CommandError):
    """A part of gqlplugin that the command needs is not installed."""

    def __init__(self, what: str, extra: str, error: ImportError) -> None:
        super().__init__(str(missing_extra(what, extra, error)))


def not_found(execution_id: str) -> CommandError:
    """The error for an ID that no run has."""
    return CommandError(f"Execution {execution_id!r} not found.")


def unknown_workflow(app: App, name: str) -> CommandError:
    """The error for a name that no workflow of the app has."""
    close = get_close_matches(name, app.workflows)
    known = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(sorted(app.workflows)) or 'none'}."
    return CommandError(f"App {app.name!r} has no workflow {name!r}. {known}")


def unknown_executor(app: App, name: str) -> CommandError:
    """The error for a name that no executor of the app has."""
    close = get_close_matches(name, app.executors)
    known = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(sorted(app.executors)) or 'none'}."
    return CommandError(f"App {app.name!r} has no executor {name!r}. {known}")


def field_lines(error: InvalidInputError) -> list[str]:
    """What is wrong with each field, below each other."""
    paths = [".".join(map(str, problem.path)) for problem in error.problems]
    width = max(map(len, paths), default=0)
    lines = [safe(f"{path:{width}}  {problem.message}") for path, problem in zip(paths, error.problems, strict=True)]
    return [line.strip() for line in lines] or [safe(error.message)]
