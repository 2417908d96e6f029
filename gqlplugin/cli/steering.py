"""`gqlplugin workflow resume` and `cancel`: another try for a run that has ended, and an end for one that has not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.text import Text

from gqlplugin.cli import shapes
from gqlplugin.cli.failure import CommandError, UsageError, not_found
from gqlplugin.cli.options import takes_target
from gqlplugin.cli.output import note, say, say_json
from gqlplugin.cli.target import Target
from gqlplugin.cli.text import safe
from gqlplugin.cli.watching import (
    IntervalOption,
    JsonOption,
    LogsOption,
    TimeoutOption,
    WaitOption,
    Watching,
    lower,
    report_end,
    watch,
    why_idle,
)
from gqlplugin.errors import FailedPreconditionError, NotFoundError
from gqlplugin.execution import ExecutionStatus

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The execution's ID.")]


@takes_target
def resume(
    target: Target,
    *,
    execution_id: IdArgument,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a failed or canceled run again, under its ID; its finished jobs are not repeated."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json)
    check_logs(watching)
    asyncio.run(_resume(target, execution_id, watching))


@takes_target
def cancel(
    target: Target,
    *,
    execution_id: IdArgument,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a run that has not ended. Its running jobs are told to stop, and may clean up; `resume` runs it again."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json)
    check_logs(watching)
    asyncio.run(_cancel(target, execution_id, watching))


def check_logs(watching: Watching) -> None:
    """Refuse `--logs` for a run that goes on.

    Raises:
        UsageError: It is said without `--wait`.
    """
    if watching.logs and not watching.wait:
        raise UsageError("--logs shows the logs of a run that has ended: add --wait.")


@contextmanager
def finding(execution_id: str) -> Iterator[None]:
    """Say in the words of the contract that there is no such run."""
    try:
        yield
    except NotFoundError as error:
        raise not_found(execution_id) from error


def say_status(execution_id: str, status: ExecutionStatus, watching: Watching) -> None:
    """Print where a run is after something was done to it."""
    if not watching.as_json:
        say(f"Execution ID: {safe(execution_id)}")
        say(Text.assemble("Status: ", lower(status)))
    elif not watching.wait:
        say_json(shapes.StartedShape(execution_id=execution_id, status=status))


async def _resume(target: Target, execution_id: str, watching: Watching) -> None:
    async with target.platform() as platform:
        try:
            with finding(execution_id):
                await platform.resume(execution_id)
        except FailedPreconditionError as error:
            raise CommandError(f"Execution {execution_id!r} is not in a resumable state.") from error
        say_status(execution_id, ExecutionStatus.PENDING_RESUME, watching)
        if watching.wait:
            report_end(await watch(target, platform, execution_id, watching), watching)


async def _cancel(target: Target, execution_id: str, watching: Watching) -> None:
    async with target.platform() as platform:
        with finding(execution_id):
            await platform.cancel(execution_id)
            status = (await platform.get_execution(execution_id)).status
        say_status(execution_id, status, watching)
        if watching.wait:
            seen = await watch(target, platform, execution_id, watching)
            report_end(seen, watching, wanted=ExecutionStatus.CANCELED)
        elif not status.is_final:
            command = target.command("workflow", "executions", execution_id, "-W")
            note(f"Its jobs are told to stop. To see it end:\n  {command}", style="")
            if idle := why_idle(target):
                note(idle, style="yellow")
