"""`gqlplugin executor trigger`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gqlplugin.app import App
from gqlplugin.cli.failure import CommandError, UsageError, field_lines, unknown_executor
from gqlplugin.cli.options import takes_target
from gqlplugin.cli.start import QuietOption, check_options, read_argument, say_started
from gqlplugin.cli.target import Target
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
from gqlplugin.errors import InvalidInputError, NotFoundError
from gqlplugin.execution import ExecutionStatus
from gqlplugin.executor import Executor, ScheduleTrigger
from gqlplugin.executor.trigger import TriggerKind
from gqlplugin.identity import executor_user
from gqlplugin.names import firing_name


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
