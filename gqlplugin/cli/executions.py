"""`gqlplugin workflow executions`: list, show and follow runs."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

import typer
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gqlplugin.checks import executor_of
from gqlplugin.cli.output import (
    UsageError,
    brief,
    console,
    elapsed,
    execution,
    execution_row,
    facts,
    local_time,
    not_found,
    note,
    parse_duration,
    safe,
    safe_lines,
    say,
    say_block,
    say_json,
    status_text,
    table,
)
from gqlplugin.cli.target import Target, takes_target
from gqlplugin.errors import NotFoundError, PlatformUnavailableError
from gqlplugin.lock import FileLock
from gqlplugin.platform.base import Platform
from gqlplugin.runs import (
    ExecutionError,
    ExecutionFilter,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    WorkflowExecution,
    by_place,
)


def tree(run: WorkflowExecution, jobs: Sequence[JobExecution], *, rows: int | None = None) -> RenderableType:
    """Draw a run.

    Args:
        run: The run.
        jobs: Its jobs.
        rows: How many lines there are room for; of more, the earlier ones are left out.
    """
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right", style="dim")
    grid.add_column(overflow="fold")
    executor = executor_of(run.workflow_name)
    header = Text(safe(f"executor {executor}" if executor else run.workflow_name), style="bold")
    grid.add_row(header, status_text(run.status), elapsed(run.started_at, run.finished_at))
    drawn = list(_rows(jobs))
    left_out = len(drawn) - max(rows - 2, 1) if rows is not None else 0
    if left_out > 0:
        drawn = drawn[left_out:]
    for guide, job in drawn:
        name = Text.assemble((guide, "dim"), safe(job.name))
        remark = Text(remark_on(job, jobs), style="red" if job.error else "dim")
        if job.status is JobStatus.WAITING:  # a question may be long, and is shown whole elsewhere
            remark.no_wrap, remark.overflow = True, "ellipsis"
        grid.add_row(name, status_text(job.status), elapsed(job.started_at, job.finished_at), remark)
    return Group(grid, Text(f"({left_out} earlier jobs)", style="dim")) if left_out > 0 else grid


def _rows(jobs: Sequence[JobExecution]) -> Iterator[tuple[str, JobExecution]]:
    """The jobs from top to bottom, each with the lines that lead to it."""
    places = {job.place for job in jobs}
    children: defaultdict[str, list[JobExecution]] = defaultdict(list)
    for job in sorted(jobs, key=by_place):
        parent = job.place.rpartition(".")[0]
        children[parent if parent in places else ""].append(job)
    waiting = [("", job, index == 0) for index, job in enumerate(reversed(children[""]))]
    while waiting:  # not a recursion: jobs may be nested deeper than Python's stack
        guide, job, is_last = waiting.pop()
        yield guide + ("└─ " if is_last else "├─ "), job
        below = guide + ("   " if is_last else "│  ")
        waiting += [(below, child, index == 0) for index, child in enumerate(reversed(children[job.place]))]


def remark_on(job: JobExecution, jobs: Sequence[JobExecution]) -> str:
    """Why a job failed, how far it says it is, or what it waits for; nothing where a job below says the same."""
    if job.status is JobStatus.WAITING:
        return brief(question(job))
    if job.error is not None:
        return "" if is_passed_on(job, jobs) else error_text(job.error)
    if job.status.is_final or job.progress is None:
        return ""
    return f"{job.progress.fraction:.0%} {safe(job.progress.message or '')}".rstrip()


def question(wait: JobExecution) -> str:
    """What a run waits for."""
    return "answer wanted" if wait.input == "null" else f"answer wanted: {wait.input}"


def is_passed_on(job: JobExecution, jobs: Sequence[JobExecution]) -> bool:
    """Whether the error of a job is that of a job it triggered."""
    return any(
        below.error is not None
        and job.error is not None
        and below.place.startswith(f"{job.place}.")
        and (below.error.code, below.error.message) == (job.error.code, job.error.message)
        for below in jobs
    )


def error_text(error: ExecutionError) -> str:
    """An error in one line."""
    return safe(f"{error.code}: {error.message}")


TIMED_OUT = 3

_TYPED = 3
"""Columns left free for what is typed meanwhile, such as ^C: it must not begin a line, or the drawing slips."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run and its jobs, as they were when they were read."""

    run: WorkflowExecution
    jobs: Sequence[JobExecution]


async def read(platform: Platform, run_id: str) -> Snapshot:
    """The run as it is.

    Raises:
        NotFoundError: There is no such run.
    """
    run = await platform.get_execution(run_id)
    return Snapshot(run, sorted((await platform.get_jobs([run.id])).get(run.id, ()), key=by_place))


async def follow(
    platform: Platform,
    run_id: str,
    *,
    poll: timedelta,
    patience: timedelta | None,
    goes_on_with: str,
    quiet: bool = False,
    hint: Callable[[Snapshot], str | None],
) -> Snapshot:
    """Show a run until it has ended.

    Args:
        platform: Where it is.
        run_id: Its ID.
        poll: How often to look.
        patience: How long to wait for its end.
        goes_on_with: The command that goes on watching, for those who stop.
        quiet: Show nothing.
        hint: Asked at each look; may know what somebody can do for the run.

    Raises:
        NotFoundError: There is no such run.
        typer.Exit: It has not ended in time; the exit code is 3.
    """
    try:
        async with asyncio.timeout(patience.total_seconds() if patience else None) as limit:
            with _view(quiet=quiet) as view:
                while True:
                    seen = await read(platform, run_id)
                    view.show(seen)
                    if seen.run.status.is_final:
                        return seen
                    if told := hint(seen):
                        view.say(told)
                    await asyncio.sleep(poll.total_seconds())
    except asyncio.CancelledError:
        _stopped("Stopped watching; the run goes on.", goes_on_with)
        raise
    except PlatformUnavailableError:
        _stopped("Stopped watching, as the platform does not answer.", goes_on_with)
        raise
    except TimeoutError:
        if not limit.expired():
            raise
        _stopped("The run has not ended in time; it goes on.", goes_on_with)
        raise typer.Exit(TIMED_OUT) from None


def _stopped(why: str, command: str) -> None:
    note(f"{why} To watch it again:\n  {command}", style="")


class View(Protocol):
    """Shows a run as it changes."""

    def show(self, seen: Snapshot) -> None:
        """The run has been read again."""
        ...

    def say(self, text: str) -> None:
        """Tell something else meanwhile."""
        ...


@contextmanager
def _view(*, quiet: bool) -> Iterator[View]:
    out = console(stderr=True)
    if quiet:
        yield Silence()
    elif not out.is_terminal or out.is_dumb_terminal:
        yield Lines()
    else:
        drawing = Drawing()
        with Live(console=out, get_renderable=drawing.draw, refresh_per_second=10) as live:
            drawing.live = live
            try:
                yield drawing
            finally:
                drawing.ended = True


class Silence:
    """Shows nothing."""

    def show(self, seen: Snapshot) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


class Lines:
    """Writes a line for each change."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, str]] = {}

    def show(self, seen: Snapshot) -> None:
        """Write what is new."""
        if not seen.run.status.is_final:
            self._tell_run(seen.run)
        for job in seen.jobs:
            remark = remark_on(job, seen.jobs)
            self._tell(job.place, job.stacked_name, job.status, remark, elapsed(job.started_at, job.finished_at))
        if seen.run.status.is_final:
            self._tell_run(seen.run)

    def say(self, text: str) -> None:
        """Write a line."""
        note(text, style="yellow")

    def _tell_run(self, run: WorkflowExecution) -> None:
        executor = executor_of(run.workflow_name)
        name = f"executor {executor}" if executor else f"workflow {run.workflow_name}"
        self._tell("", name, run.status, "", elapsed(run.started_at, run.finished_at))

    def _tell(self, key: str, name: str, status: str, remark: str, took: str) -> None:
        if self._seen.get(key) == (status, remark):
            return
        self._seen[key] = status, remark
        mark = status_text(status)
        mark.pad_right(max(14 - len(status), 0))
        clock = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
        rest = "  ".join(part for part in (safe(name), took, remark) if part)
        note(Text.assemble((clock, "dim"), "  ", mark, "  ", rest), style="")


class Drawing:
    """Draws the tree of jobs in place; times go on between two looks."""

    def __init__(self) -> None:
        self.live: Live | None = None
        self.ended = False
        self._seen: Snapshot | None = None

    def show(self, seen: Snapshot) -> None:
        """Draw the run from now on."""
        self._seen = seen

    def say(self, text: str) -> None:
        """Write a line above the drawing."""
        if self.live is not None:
            self.live.console.print(Text(text, style="yellow"), soft_wrap=True)  # a command is there to be copied

    def draw(self) -> RenderableType:
        """The drawing as it is now; whole once there will be no other."""
        if self._seen is None or self.live is None:
            return ""
        width, height = self.live.console.size
        drawn = tree(self._seen.run, self._seen.jobs, rows=None if self.ended else height - 1)
        return Constrain(drawn, width - _TYPED)


LOCAL_POLL = timedelta(milliseconds=100)
PENDING_PATIENCE = timedelta(seconds=2)

INTERVAL_HELP = "How often to look on a remote platform: 500ms, 3s, 1m."
WaitOption = Annotated[bool, typer.Option("--wait", "-W", help="Follow the run until it has ended.")]
IntervalOption = Annotated[
    str,
    typer.Option("--interval", "-i", metavar="DURATION", help=INTERVAL_HELP),
]
TimeoutOption = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="With --wait: stop watching after this time, with exit code 3."),
]
LogsOption = Annotated[bool, typer.Option("--logs", "-l", help="Show the log and the result of each job.")]
JsonOption = Annotated[bool, typer.Option("--json", "-j", help="Print JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What was said about following a run."""

    wait: bool
    interval: timedelta
    timeout: timedelta | None
    logs: bool
    as_json: bool
    quiet: bool = False

    @classmethod
    def said(
        cls, *, wait: bool, interval: str, timeout: str | None, logs: bool, as_json: bool, quiet: bool = False
    ) -> Watching:
        """What the options say.

        Raises:
            UsageError: A duration is none, or bounds nothing.
        """
        if timeout is not None and not wait:
            raise UsageError("--timeout bounds how long a run is followed: add --wait.")
        return cls(
            wait=wait,
            interval=_duration("--interval", interval),
            timeout=None if timeout is None else _duration("--timeout", timeout),
            logs=logs,
            as_json=as_json,
            quiet=quiet,
        )


def _duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"Invalid value for {option}: {error}.") from None


async def watch(target: Target, platform: Platform, run_id: str, watching: Watching) -> Snapshot:
    """Follow a run until it has ended.

    Raises:
        NotFoundError: There is no such run.
        typer.Exit: It has not ended in time.
    """
    options = ["--logs"] if watching.logs else []
    return await follow(
        platform,
        run_id,
        poll=watching.interval if target.is_remote else LOCAL_POLL,
        patience=watching.timeout,
        goes_on_with=target.command("workflow", "executions", run_id, "-W", *options),
        quiet=watching.quiet,
        hint=Hints(target).about,
    )


class Hints:
    """What somebody who follows a run can do for it, each told once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._began = time.monotonic()
        self._may_lack_worker = not target.is_remote
        self._told: set[str] = set()

    def about(self, seen: Snapshot) -> str | None:
        """What there is to tell of a run now."""
        if seen.run.status is not ExecutionStatus.PENDING:
            self._may_lack_worker = False
        elif self._may_lack_worker and time.monotonic() - self._began > PENDING_PATIENCE.total_seconds():
            self._may_lack_worker = False
            return why_idle(self._target)
        for job in seen.jobs:
            if job.is_wait_point and job.status is JobStatus.WAITING and job.place not in self._told:
                self._told.add(job.place)
                command = self._target.command("workflow", "resolve", seen.run.id, job.name, "JSON")
                return f"The run waits for an answer. To give it, in another terminal:\n  {command}"
        return None


def why_idle(target: Target) -> str | None:
    """That nobody runs the jobs of a file on this machine, if so."""
    if target.is_remote:
        return None
    lock = FileLock(f"{target.file()}.lock")
    try:
        is_free = lock.acquire()
    except OSError:  # not ours to open: then it is not ours to say who holds it
        return None
    lock.release()
    if not is_free:
        return None
    return f"No process runs the jobs of this file. To run them, in another terminal:\n  {target.command('worker')}"


def report_end(seen: Snapshot, watching: Watching, *, wanted: ExecutionStatus = ExecutionStatus.SUCCESS) -> None:
    """Print how a followed run ended.

    Raises:
        typer.Exit: It ended otherwise than wanted; the exit code is 1.
    """
    run = seen.run
    if watching.as_json:
        say_json(execution(run, seen.jobs))
    elif not watching.quiet:
        say(Text.assemble("Status: ", lower(run.status)))
        if run.output is not None:
            say(f"Output: {safe(run.output)}")
        if watching.logs:
            say_logs(seen)
    if run.status is not wanted:
        if run.error is not None and not watching.as_json:
            note(Text.assemble(("Error: ", "bold red"), error_text(run.error)), style="")
        raise typer.Exit(1)


def lower(status: str) -> Text:
    """A status as the older command line writes it: in lower case."""
    styled = status_text(status)
    return Text(status.lower(), style=styled.style)


def say_logs(seen: Snapshot) -> None:
    """Print the log and the result of each job."""
    for job in seen.jobs:
        say("")
        say(Text.assemble((safe(job.stacked_name), "bold"), "  ", status_text(job.status)))
        for line in _log_of(job, seen.jobs):
            say(Text.assemble("  ", line))


def _log_of(job: JobExecution, jobs: Sequence[JobExecution]) -> list[Text]:
    lines = [Text(safe(question(job)), style="dim")] if job.is_wait_point else []
    lines += [Text(line) for log in job.logs for line in safe_lines(log)]
    if job.result is not None:
        lines.append(Text(f"→ {safe(job.result)}", style="green"))
    if job.error is not None and not is_passed_on(job, jobs):
        lines.append(Text(error_text(job.error), style="red"))
        lines += [Text(line, style="dim") for line in safe_lines(job.error.detail or "")]
    return lines


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
        say_json(execution(seen.run, seen.jobs))
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
    found = [execution_row(run, jobs.get(run.id, ())) for run in runs]
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
