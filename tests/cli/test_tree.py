"""The tree of a run's jobs, drawn from records."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

from gqlplugin.cli.executions import tree
from gqlplugin.runs import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    Progress,
    WorkflowExecution,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = WorkflowExecution(
    id="r", workflow_name="build", status=ExecutionStatus.RUNNING, input="null", created_at=NOW, started_at=None
)


def job(place: str, status: JobStatus = JobStatus.SUCCESS, error: ExecutionError | None = None) -> JobExecution:
    """A job that took a second."""
    return JobExecution(
        run_id="r",
        place=place,
        name=f"job-{place}",
        stacked_name=place,
        status=status,
        input="null",
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=1),
        error=error,
        progress=Progress(0.5, "half-way"),
    )


def drawn(jobs: Sequence[JobExecution], rows: int | None = None) -> list[str]:
    """The lines of the drawing."""
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(tree(RUN, jobs, rows=rows))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_each_job_is_below_the_one_that_triggered_it() -> None:
    """Branches are joined by lines, in the order of the triggers, whatever the order of the records."""
    places = ["0", "0.0", "0.0.0", "0.1", "0.10", "0.2"]
    lines = drawn([job(place) for place in reversed(places)])
    assert [line.partition("SUCCESS")[0].rstrip() for line in lines[1:]] == [
        "└─ job-0",
        "   ├─ job-0.0",
        "   │  └─ job-0.0.0",
        "   ├─ job-0.1",
        "   ├─ job-0.2",
        "   └─ job-0.10",
    ]
    assert len({line.index("SUCCESS") for line in lines[1:]} | {lines[0].index("RUNNING")}) == 1


def test_a_job_whose_parent_is_unknown_is_shown() -> None:
    """A platform that tells of some jobs only loses none of them."""
    assert [line.split()[1] for line in drawn([job("0.3.1"), job("0.4")])[1:]] == ["job-0.3.1", "job-0.4"]


def test_deep_nesting() -> None:
    """Jobs may be nested deeper than Python's own stack."""
    places = [".".join(["0"] * depth) for depth in range(1, 1500)]
    assert len(drawn([job(place) for place in places], rows=10)) < 20


def test_where_there_is_little_room() -> None:
    """A tree with more lines than there is room for shows the latest, and how many it leaves out."""
    lines = drawn([job("0"), *(job(f"0.{step}") for step in range(50))], rows=10)
    assert len(lines) == 10
    assert "job-0.49" in lines[-2]
    assert lines[-1] == "(43 earlier jobs)"


def test_a_wait_says_what_it_waits_for() -> None:
    """The beginning of its payload is shown, on one line, while it waits."""
    wait = replace(job("0.0", JobStatus.WAITING), is_wait_point=True, finished_at=None)
    lines = drawn([job("0", JobStatus.SUSPEND), replace(wait, input='"a\x1b"')])
    assert lines[2].endswith('answer wanted: "a\\x1b"')
    assert drawn([wait])[1].endswith("answer wanted")
    assert "…" in "".join(drawn([replace(wait, input="x" * 300)]))
    assert "answer wanted" not in "".join(drawn([replace(wait, status=JobStatus.CANCELED)]))


def test_a_firing_is_called_by_its_executor() -> None:
    """The name under which the platform keeps a firing is for programs."""
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(tree(replace(RUN, workflow_name="executor/nightly"), []))
    assert captured.get().split()[:3] == ["executor", "nightly", "RUNNING"]


def test_progress_and_errors() -> None:
    """Progress is shown while a job runs; an error at the lowest job that has it."""
    error = ExecutionError("JOB_FAILED", "no paper")
    lines = drawn(
        [job("0", JobStatus.FAILED, error), job("0.0", JobStatus.FAILED, error), job("0.1", JobStatus.RUNNING)]
    )
    assert lines[1].endswith("FAILED    1.0s")
    assert lines[2].endswith("FAILED    1.0s   JOB_FAILED: no paper")
    assert lines[3].endswith("50% half-way")
