"""Following a run until it has ended: a tree that is drawn again and again, or a line for each change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import typer
from rich.console import RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.text import Text

from gqlplugin.cli.output import console, note, status_text
from gqlplugin.cli.text import elapsed, safe
from gqlplugin.cli.tree import remark_on, tree
from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.execution import JobExecution, WorkflowExecution, by_place
from gqlplugin.names import executor_of
from gqlplugin.platform.base import Platform

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
