"""The options of commands that may follow a run, and what they print at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from gqlplugin.cli.tree import error_text, is_passed_on
from gqlplugin.execution import ExecutionStatus, JobExecution
from gqlplugin.lock import FileLock
from gqlplugin.platform.base import Platform

LOCAL_POLL = timedelta(milliseconds=100)

WaitOption = Annotated[bool, typer.Option("--wait", "-W", help="Follow the run until it has ended.")]
IntervalOption = Annotated[
    str,
    typer.Option("--interval", "-i", metavar="DURATION", help="How often to look on a remote platform: 500ms, 3s, 1m."),
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
        hint=None if target.is_remote else _why_pending(target),
    )


def _why_pending(target: Target) -> Callable[[], str | None]:
    def reason() -> str | None:
        lock = FileLock(f"{target.file()}.lock")
        try:
            is_free = lock.acquire()
        except OSError:  # not ours to open: then it is not ours to say who holds it
            return None
        lock.release()
        if not is_free:
            return None
        return f"No process runs the jobs of this file. To run them, in another terminal:\n  {target.command('worker')}"

    return reason


def report_end(seen: Snapshot, watching: Watching) -> None:
    """Print how a followed run ended.

    Raises:
        typer.Exit: It failed; the exit code is 1.
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
    if run.status is ExecutionStatus.FAILED:
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
    lines = [Text(line) for log in job.logs for line in safe_lines(log)]
    if job.result is not None:
        lines.append(Text(f"→ {safe(job.result)}", style="green"))
    if job.error is not None and not is_passed_on(job, jobs):
        lines.append(Text(error_text(job.error), style="red"))
        lines += [Text(line, style="dim") for line in safe_lines(job.error.detail or "")]
    return lines
