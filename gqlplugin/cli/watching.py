"""The options of commands that may follow a run, and what they print at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from rich.text import Text

from gqlplugin.cli import shapes
from gqlplugin.cli.failure import UsageError
from gqlplugin.cli.follow import Snapshot, follow
from gqlplugin.cli.output import note, say, say_json, status_text
from gqlplugin.cli.target import Target
from gqlplugin.cli.text import parse_duration, safe, safe_lines
from gqlplugin.cli.tree import error_text, is_passed_on, question
from gqlplugin.execution import ExecutionStatus, JobExecution, JobStatus
from gqlplugin.lock import FileLock
from gqlplugin.platform.base import Platform

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
        say_json(shapes.execution(run, seen.jobs))
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
