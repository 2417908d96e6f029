"""The record of a run: what a resume forgets of it, and how callers see it."""

from datetime import UTC, datetime, timedelta

import pytest

from gqlplugin.runs import JobExecution, JobStatus, shown, to_run_again

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(place: str, status: str, name: str = "node") -> JobExecution:
    return JobExecution(
        run_id="run",
        place=place,
        name=name,
        stacked_name=f"at/{place}",
        status=JobStatus(status),
        input="null",
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=1) if JobStatus(status).is_final else None,
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, []),
        ({"0": "FAILED"}, ["0"]),
        ({"0": "RUNNING"}, ["0"]),
        ({"0": "FAILED", "0.0": "SUCCESS"}, ["0"]),
        ({"0": "FAILED", "0.0": "FAILED"}, ["0", "0.0"]),
        ({"0": "FAILED", "0.0": "FAILED", "0.0.0": "FAILED"}, ["0", "0.0", "0.0.0"]),
        ({"0": "FAILED", "0.0": "FAILED", "0.1": "SUCCESS"}, ["0"]),
        ({"0": "FAILED", "0.0": "FAILED", "0.1": "FAILED"}, ["0", "0.1"]),
        ({"0": "FAILED", "0.0": "SUCCESS", "0.0.0": "FAILED"}, ["0"]),
        ({"0": "FAILED", "0.0": "FAILED", "0.0.0": "FAILED", "0.1": "SUCCESS"}, ["0"]),
        ({"0": "FAILED", "0.9": "FAILED", "0.10": "FAILED"}, ["0", "0.10"]),
        ({"0": "FAILED", "0.0": "SUCCESS", "0.0.1": "RUNNING"}, ["0", "0.0.1"]),
    ],
)
def test_what_a_resume_forgets(record: dict[str, str], expected: list[str]) -> None:
    """The failures that ended the run, from the main job down, and what was left running; handled ones stay."""
    assert to_run_again([job(place, status) for place, status in reversed(record.items())]) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"0": "RUNNING"}, "RUNNING"),
        ({"0": "RUNNING", "0.0": "RUNNING"}, "SUSPEND RUNNING"),
        ({"0": "RUNNING", "0.0": "RUNNING", "0.0.0": "RUNNING"}, "SUSPEND SUSPEND RUNNING"),
        ({"0": "RUNNING", "0.0": "SUCCESS", "0.1": "RUNNING"}, "SUSPEND SUCCESS RUNNING"),
        ({"0": "RUNNING", "0.0": "FAILED"}, "RUNNING FAILED"),
        ({"0": "SUCCESS", "0.0": "SUCCESS"}, "SUCCESS SUCCESS"),
        ({"0": "SUCCESS", "0.0": "RUNNING"}, "SUCCESS FAILED"),
    ],
)
def test_how_jobs_are_shown(record: dict[str, str], expected: str) -> None:
    """A job that waits for one it triggered is SUSPEND; one that its caller gave up is FAILED, not running for ever."""
    assert " ".join(one.status.value for one in shown([job(*one) for one in record.items()])) == expected


def test_started_workflows_are_not_shown_as_jobs() -> None:
    """The record of a workflow that a job started is no job of the run."""
    record = [job("0", "SUCCESS"), job("0.0", "SUCCESS", "workflow:other"), job("0.1", "SUCCESS")]
    assert [one.place for one in shown(record)] == ["0", "0.1"]
