"""`gqlplugin workflow executions`: what was started, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from gqlplugin.cli import shapes
from gqlplugin.cli.failure import UsageError, not_found
from gqlplugin.cli.follow import Snapshot, read
from gqlplugin.cli.options import takes_target
from gqlplugin.cli.output import console, facts, note, say, say_block, say_json, status_text, table
from gqlplugin.cli.target import Target
from gqlplugin.cli.text import elapsed, local_time, safe
from gqlplugin.cli.tree import error_text, tree
from gqlplugin.cli.watching import (
    IntervalOption,
    JsonOption,
    LogsOption,
    TimeoutOption,
    WaitOption,
    Watching,
    report_end,
    say_logs,
    watch,
)
from gqlplugin.errors import NotFoundError
from gqlplugin.execution import ExecutionFilter, ExecutionStatus, WorkflowExecution
from gqlplugin.names import executor_of
from gqlplugin.platform.base import Platform

_PAGE = 100


@takes_target
def executions(
    target: Target,
    *,
    execution_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Show this run and its jobs.", show_default=False)
    ] = None,
    workflow_name: Annotated[
        str | None, typer.Option("--workflow-name", "-n", metavar="NAME", help="List the runs of this workflow.")
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", "-s", metavar="STATUS", help="List the runs in this status.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="COUNT", help="List no more runs than this.")] = 50,
    wait: WaitOption = False,
    interval: IntervalOption = "3s",
    timeout: TimeoutOption = None,
    logs: LogsOption = False,
    as_json: JsonOption = False,
) -> None:
    """List runs of workflows, newest first; or show one, with its jobs. `executor jobs` lists firings of executors."""
    watching = Watching.said(wait=wait, interval=interval, timeout=timeout, logs=logs, as_json=as_json)
    if execution_id is not None:
        if workflow_name is not None or status is not None:
            raise UsageError("--workflow-name and --status choose runs to list: leave them out for one run.")
        asyncio.run(_show(target, execution_id, watching))
        return
    if wait or logs:
        raise UsageError("--wait and --logs need a run: give its ID.")
    where = ExecutionFilter(
        workflow_name=workflow_name, status=None if status is None else run_status(status), firings=False
    )
    asyncio.run(_list(target, where, limit, as_json=as_json))


def run_status(text: str) -> ExecutionStatus:
    """The status that a text means, in any case.

    Raises:
        UsageError: It means none.
    """
    try:
        return ExecutionStatus(text.upper().replace("-", "_"))
    except ValueError:
        known = ", ".join(ExecutionStatus)
        raise UsageError(f"{safe(text)!r} is not a status. Those of runs are: {known}.") from None


async def _show(target: Target, execution_id: str, watching: Watching) -> None:
    async with target.platform() as platform:
        try:
            seen = await read(platform, execution_id)
            if watching.wait and not seen.run.status.is_final:
                seen = await watch(target, platform, execution_id, watching)
        except NotFoundError as error:
            raise not_found(execution_id) from error
    if watching.wait:
        report_end(seen, watching)
    elif watching.as_json:
        say_json(shapes.execution(seen.run, seen.jobs))
    else:
        _say_run(seen)
        if watching.logs:
            say_logs(seen)


def _say_run(seen: Snapshot) -> None:
    run = seen.run
    executor = executor_of(run.workflow_name)
    ended = local_time(run.finished_at)
    rows: list[tuple[str, str | Text]] = [
        ("Execution ID", run.id),
        ("Workflow", "" if executor else run.workflow_name),
        ("Executor", executor or ""),
        ("Status", status_text(run.status)),
        ("Machine user", run.invoker.machine_user_name if run.invoker else ""),
        ("Started", local_time(run.started_at)),
        ("Finished", ended and f"{ended} (after {elapsed(run.started_at, run.finished_at)})"),
        ("Input", run.input),
        ("Output", run.output or ""),
        ("Error", Text(error_text(run.error), style="red") if run.error else ""),
    ]
    say_block(facts(rows))
    say("")
    say_block(tree(run, seen.jobs))


async def _list(target: Target, where: ExecutionFilter, limit: int, *, as_json: bool) -> None:
    async with target.platform() as platform:
        runs, more = await newest(platform, where, limit)
        jobs = await platform.get_jobs([run.id for run in runs])
    found = [shapes.execution_row(run, jobs.get(run.id, ())) for run in runs]
    if as_json:
        say_json(found)
    elif found:
        brief = console().is_terminal
        rows = [
            (
                one.id,
                one.workflow_name,
                status_text(one.status),
                str(one.job_executions),
                local_time(one.started_at, brief=brief),
                local_time(one.finished_at, brief=brief),
            )
            for one in found
        ]
        headings = ("ID", "WORKFLOW", "STATUS", "JOBS", "STARTED", "FINISHED")
        say_block(table(headings, rows, whole=("ID", "STATUS", "JOBS"), spare=("FINISHED",)))
    else:
        note("There are no such runs.")
    if more:
        note(f"There are more runs: --limit {limit * 2} lists more.")


async def newest(platform: Platform, where: ExecutionFilter, limit: int) -> tuple[Sequence[WorkflowExecution], bool]:
    """The newest runs, no more than the limit, and whether there are more."""
    runs: list[WorkflowExecution] = []
    after = None
    while True:
        page = await platform.list_executions(where, first=min(limit - len(runs), _PAGE), after=after)
        runs += page.executions
        if not page.has_next or len(runs) >= limit or not page.cursors:
            return runs, page.has_next
        after = page.cursors[-1]
