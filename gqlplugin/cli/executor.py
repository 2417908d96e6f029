"""`gqlplugin executor`: list, show and trigger executors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from gqlplugin.app import App
from gqlplugin.checks import firing_name
from gqlplugin.cli.executions import (
    IntervalOption,
    JsonOption,
    LogsOption,
    TimeoutOption,
    WaitOption,
    Watching,
    newest,
    report_end,
    run_status,
    watch,
)
from gqlplugin.cli.output import (
    CommandError,
    ExecutorJobShape,
    ExecutorShape,
    UsageError,
    console,
    executor,
    executor_job,
    facts,
    field_lines,
    local_time,
    note,
    safe,
    say_block,
    say_json,
    status_text,
    table,
    unknown_executor,
)
from gqlplugin.cli.target import APPLICATION, Target, takes_target
from gqlplugin.cli.workflow import QuietOption, check_options, read_argument, say_started
from gqlplugin.errors import InvalidInputError, NotFoundError
from gqlplugin.executor import Executor, ScheduleTrigger
from gqlplugin.executor.trigger import TriggerKind
from gqlplugin.identity import executor_user
from gqlplugin.runs import ExecutionFilter, ExecutionStatus


@takes_target
def trigger(
    target: Target,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The executor's name.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            metavar="JSON",
            help="What the trigger would hand over: JSON, @FILE, or - for stdin; for a schedule now is the default.",
        ),
    ] = None,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fire an executor by hand, and print the execution's ID."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json, quiet=quiet)
    check_options(watching)
    asyncio.run(_fire(target, name, None if data is None else read_argument(data), watching))


async def _fire(target: Target, name: str, data: str | None, watching: Watching) -> None:
    app = target.app if target.is_remote else target.need_app()
    arg = _unchecked(name, data) if app is None else _checked(app, name, data)
    async with target.platform() as platform:
        try:
            run_id = await platform.start_workflow(firing_name(name), arg, caller=executor_user(name))
        except NotFoundError as error:
            raise CommandError(f"The platform has no executor {name!r}.") from error
        say_started(run_id, ExecutionStatus.PENDING, watching)
        if watching.wait:
            report_end(await watch(target, platform, run_id, watching), watching)


def _unchecked(name: str, data: str | None) -> str:
    if data is None:
        raise UsageError(
            f"What would the trigger of executor {name!r} hand over? Say it with --data JSON, or name the application "
            "with -A module:app, which knows."
        )
    return data


def _checked(app: App, name: str, data: str | None) -> str:
    """The arguments to fire with, once nothing known here speaks against them."""
    if name not in app.executors:
        raise unknown_executor(app, name)
    executor = app.executors[name]
    if executor.disabled:
        raise CommandError(f"Executor {name!r} is disabled: nothing fires it ({executor.source}).")
    if data is None:
        data = _by_default(app, executor)
    try:
        return app.firings[firing_name(name)].encode_json(data)
    except InvalidInputError as error:
        raise CommandError(f"The arguments of executor {name!r} are not valid:", field_lines(error)) from error


def _by_default(app: App, executor: Executor[Any]) -> str:
    if isinstance(executor.trigger, ScheduleTrigger):
        return json.dumps({"scheduled_time": datetime.now(UTC).isoformat()})
    raise CommandError(
        f"Executor {executor.name!r} takes what its trigger hands over: give it with --data JSON, such as",
        [json.dumps(_example(app, executor), ensure_ascii=False)],
    )


def _example(app: App, executor: Executor[Any]) -> Mapping[str, object]:
    """Arguments of the shape that a trigger hands over."""
    kind: TriggerKind = executor.trigger.kind
    detail = executor.trigger.detail
    if kind == "incoming-webhook":
        return {"body": {}, "headers": {"content-type": "application/json"}, "method": "POST", "raw_body": "{}"}
    if kind == "resolver-executed":
        return {"resolver_name": detail, "success": True, "result": None}
    records = {"record-created": ["new_record"], "record-deleted": ["old_record"]}
    given = records.get(kind, ["new_record", "old_record"])
    return {"type_name": detail, "app_namespace": app.name, **{key: {} for key in given}}


commands = typer.Typer(no_args_is_help=True, help="See what happens by itself, what came of it, and fire it by hand.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The executor's name.")]

_HASH = 8


@commands.command("list")
@takes_target
def list_executors(target: Target, as_json: JsonOption = False) -> None:
    """List the executors of the application."""
    app, now = _definitions(target), datetime.now(UTC)
    found = [executor(app.executors[name], now) for name in sorted(app.executors)]
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
    found = executor(app.executors[name], datetime.now(UTC))
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


def _trigger(one: ExecutorShape) -> str:
    return f"{one.trigger_kind}: {one.trigger_detail}"


def _operation(one: ExecutorShape) -> str:
    return f"{one.operation_kind}: {one.operation_detail}"


async def _list_jobs(target: Target, name: str, where: ExecutionFilter, limit: int, *, as_json: bool) -> None:
    async with target.platform() as platform:
        runs, more = await newest(platform, where, limit)
    if not runs and target.app is not None and name not in target.app.executors:
        raise unknown_executor(target.app, name)
    found = [executor_job(run) for run in runs]
    if as_json:
        say_json(found)
    elif found:
        _say_jobs(found)
    else:
        note("There are no such jobs.")
    if more:
        note(f"There are more jobs: --limit {limit * 2} lists more.")


def _say_jobs(found: list[ExecutorJobShape]) -> None:
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


def _outcome(one: ExecutorJobShape) -> Text:
    if one.error is not None:
        return Text(safe(f"{one.error.code}: {one.error.message}"), style="red")
    if one.skipped:
        return Text("skipped", style="dim")
    return Text(f"run {safe(one.workflow_run_id)}" if one.workflow_run_id else "")
