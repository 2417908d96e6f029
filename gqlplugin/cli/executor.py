"""`gqlplugin executor`: what happens by itself, and what did."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from gqlplugin.app import App
from gqlplugin.cli import shapes
from gqlplugin.cli.executions import newest, run_status
from gqlplugin.cli.failure import UsageError, unknown_executor
from gqlplugin.cli.fire import trigger
from gqlplugin.cli.options import takes_target
from gqlplugin.cli.output import console, facts, note, say_block, say_json, status_text, table
from gqlplugin.cli.target import APPLICATION, Target
from gqlplugin.cli.text import local_time, safe
from gqlplugin.cli.watching import JsonOption
from gqlplugin.execution import ExecutionFilter
from gqlplugin.names import firing_name

commands = typer.Typer(no_args_is_help=True, help="See what happens by itself, what came of it, and fire it by hand.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The executor's name.")]

_HASH = 8


@commands.command("list")
@takes_target
def list_executors(target: Target, as_json: JsonOption = False) -> None:
    """List the executors of the application."""
    app, now = _definitions(target), datetime.now(UTC)
    found = [shapes.executor(app.executors[name], now) for name in sorted(app.executors)]
    if as_json:
        say_json(found)
    elif found:
        brief = console().is_terminal
        rows = [
            (
                one.name,
                _trigger(one),
                _operation(one),
                Text("disabled", style="yellow") if one.disabled else local_time(one.next_time, brief=brief),
            )
            for one in found
        ]
        say_block(table(("NAME", "TRIGGER", "OPERATION", "NEXT"), rows, whole=("NAME", "NEXT")))
    else:
        note("There are no executors.")


@commands.command("get")
@takes_target
def get_executor(target: Target, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show one executor."""
    app = _definitions(target)
    if name not in app.executors:
        raise unknown_executor(app, name)
    found = shapes.executor(app.executors[name], datetime.now(UTC))
    if as_json:
        say_json(found)
        return
    rows: list[tuple[str, str | Text]] = [
        ("Name", found.name),
        ("Description", found.description),
        ("Trigger", _trigger(found)),
        ("Operation", _operation(found)),
        ("Disabled", Text("yes: nothing fires it", style="yellow") if found.disabled else ""),
        ("Next time", local_time(found.next_time)),
    ]
    say_block(facts(rows))


@commands.command("jobs")
@takes_target
def list_jobs(
    target: Target,
    *,
    name: NameArgument,
    status: Annotated[
        str | None, typer.Option("--status", "-s", metavar="STATUS", help="List the jobs in this status.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="COUNT", help="List no more jobs than this.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what an executor did, newest first; `workflow executions ID` shows more of one."""
    where = ExecutionFilter(workflow_name=firing_name(name), status=None if status is None else run_status(status))
    asyncio.run(_list_jobs(target, name, where, limit, as_json=as_json))


commands.command("trigger")(trigger)


def _definitions(target: Target) -> App:
    if target.app is None:
        raise UsageError(
            "Which application? Executors are what it defines, and no platform tells of them: name it with "
            f"-A module:app, such as -A shop.main:app, or set {APPLICATION}=shop.main:app."
        )
    return target.app


def _trigger(one: shapes.ExecutorShape) -> str:
    return f"{one.trigger_kind}: {one.trigger_detail}"


def _operation(one: shapes.ExecutorShape) -> str:
    return f"{one.operation_kind}: {one.operation_detail}"


async def _list_jobs(target: Target, name: str, where: ExecutionFilter, limit: int, *, as_json: bool) -> None:
    async with target.platform() as platform:
        runs, more = await newest(platform, where, limit)
    if not runs and target.app is not None and name not in target.app.executors:
        raise unknown_executor(target.app, name)
    found = [shapes.executor_job(run) for run in runs]
    if as_json:
        say_json(found)
    elif found:
        _say_jobs(found)
    else:
        note("There are no such jobs.")
    if more:
        note(f"There are more jobs: --limit {limit * 2} lists more.")


def _say_jobs(found: list[shapes.ExecutorJobShape]) -> None:
    brief = console().is_terminal
    rows = [
        (
            one.id,
            status_text(one.status),
            str(one.attempts),
            one.arguments_hash[:_HASH],
            local_time(one.started_at, brief=brief),
            local_time(one.finished_at, brief=brief),
            _outcome(one),
        )
        for one in found
    ]
    headings = ("ID", "STATUS", "ATTEMPTS", "ARGUMENTS", "STARTED", "FINISHED", "OUTCOME")
    say_block(table(headings, rows, whole=headings[:-1], spare=("ARGUMENTS", "FINISHED", "ATTEMPTS", "STARTED")))


def _outcome(one: shapes.ExecutorJobShape) -> Text:
    if one.error is not None:
        return Text(safe(f"{one.error.code}: {one.error.message}"), style="red")
    if one.skipped:
        return Text("skipped", style="dim")
    return Text(f"run {safe(one.workflow_run_id)}" if one.workflow_run_id else "")
