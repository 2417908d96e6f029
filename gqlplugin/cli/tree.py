"""A run and its jobs as a tree, each job below the one that triggered it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gqlplugin.cli.output import status_text
from gqlplugin.cli.text import brief, elapsed, safe
from gqlplugin.execution import ExecutionError, JobExecution, JobStatus, WorkflowExecution, by_place
from gqlplugin.names import executor_of


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
