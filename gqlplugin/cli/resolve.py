"""`gqlplugin workflow resolve`: answering a run that waits."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_core import from_json

from gqlplugin.app import App
from gqlplugin.cli import shapes
from gqlplugin.cli.failure import CommandError, UsageError, field_lines
from gqlplugin.cli.options import takes_target
from gqlplugin.cli.output import console, note, say_block, say_json, table
from gqlplugin.cli.start import read_argument
from gqlplugin.cli.steering import IdArgument, check_logs, finding, say_status
from gqlplugin.cli.target import Target
from gqlplugin.cli.text import local_time, safe
from gqlplugin.cli.watching import (
    IntervalOption,
    JsonOption,
    LogsOption,
    TimeoutOption,
    WaitOption,
    Watching,
    report_end,
    watch,
)
from gqlplugin.codec import NotJsonError, refused
from gqlplugin.execution import ExecutionStatus, WaitFilter

_MOST = 100


@takes_target
def resolve(
    target: Target,
    *,
    execution_id: IdArgument,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="The wait point's name.", show_default=False)] = None,
    answer: Annotated[
        str | None,
        typer.Argument(metavar="JSON", help="The answer: JSON, @FILE, or - for stdin.", show_default=False),
    ] = None,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer a run that waits; it goes on with the answer. Without KEY and JSON: show what it waits for."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json)
    check_logs(watching)
    if key is not None and answer is not None:
        asyncio.run(_resolve(target, execution_id, key, _checked(target.app, key, read_argument(answer)), watching))
    elif key is not None:
        raise UsageError(
            f"What is the answer? Say it: {target.command('workflow', 'resolve', execution_id, key, 'JSON')}"
        )
    elif wait:
        raise UsageError("--wait follows a run that was answered: give KEY and JSON.")
    else:
        asyncio.run(_show(target, execution_id, as_json=as_json))


def _checked(app: App | None, key: str, answer: str) -> str:
    """The answer to send, once nothing known here speaks against it.

    Where a run waits, and whether it does, is for the platform to say.
    """
    point = None if app is None else app.wait_points.get(key)
    try:
        if point is not None:
            return point.result.dump(point.result.load(answer))
        from_json(answer, allow_inf_nan=False)
    except (ValidationError, NotJsonError) as error:
        problems = field_lines(refused("The answer", error))
        raise CommandError(f"The answer to wait point {key!r} is not valid:", problems) from None
    except ValueError as error:
        raise CommandError(f"The answer to wait point {key!r} is not valid JSON: {safe(str(error))}.") from None
    return answer


async def _resolve(target: Target, execution_id: str, key: str, answer: str, watching: Watching) -> None:
    async with target.platform() as platform:
        with finding(execution_id):
            await platform.resolve(execution_id, key, answer)
        say_status(execution_id, ExecutionStatus.PENDING_RESUME, watching)
        if watching.wait:
            report_end(await watch(target, platform, execution_id, watching), watching)


async def _show(target: Target, execution_id: str, *, as_json: bool) -> None:
    async with target.platform() as platform:
        with finding(execution_id):
            run = await platform.get_execution(execution_id)
        page = await platform.list_waits(WaitFilter(run_id=run.id), first=_MOST)
    if as_json:
        say_json([shapes.wait(one) for one in page.waits])
    elif page.waits:
        brief = console().is_terminal
        rows = [
            (one.name, local_time(one.since, brief=brief), local_time(one.expires_at, brief=brief), one.payload)
            for one in page.waits
        ]
        say_block(table(("KEY", "SINCE", "EXPIRES", "PAYLOAD"), rows, whole=("KEY", "SINCE", "EXPIRES")))
        command = target.command("workflow", "resolve", run.id, page.waits[0].name, "JSON")
        note(f"To answer it:\n  {command}", style="")
    else:
        note(f"The run is {run.status}: it waits for no answer.")
