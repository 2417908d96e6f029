"""Records and policies: their limits and their order."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest

from gqlplugin.runs import (
    ConcurrencyPolicy,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    by_place,
)


def test_what_has_ended_is_final() -> None:
    """A run that waits, retries or resumes has not ended; one that ended without a result can be resumed."""
    assert {status for status in ExecutionStatus if status.is_final} == {
        ExecutionStatus.SUCCESS,
        ExecutionStatus.FAILED,
        ExecutionStatus.CANCELED,
    }
    assert {status for status in ExecutionStatus if status.is_resumable} == {
        ExecutionStatus.FAILED,
        ExecutionStatus.CANCELED,
    }
    assert {status for status in JobStatus if status.is_final} == {
        JobStatus.SUCCESS,
        JobStatus.FAILED,
        JobStatus.CANCELED,
    }


@pytest.mark.parametrize(
    "values",
    [
        {"max_retries": 1},
        {"max_retries": 10, "initial_backoff": timedelta(hours=1), "max_backoff": timedelta(hours=24)},
        {"max_retries": 2, "initial_backoff": timedelta(microseconds=1), "backoff_multiplier": 1},
    ],
)
def test_a_retry_policy_within_its_limits(values: dict[str, Any]) -> None:
    """The limits themselves are allowed (TAILOR.md section 5)."""
    assert RetryPolicy(**values).max_retries == values["max_retries"]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"max_retries": 0}, "max_retries"),
        ({"max_retries": 11}, "max_retries"),
        ({"max_retries": 1, "initial_backoff": timedelta(0)}, "initial_backoff"),
        ({"max_retries": 1, "initial_backoff": timedelta(hours=1, seconds=1)}, "initial_backoff"),
        ({"max_retries": 1, "max_backoff": timedelta(hours=24, seconds=1)}, "max_backoff"),
        (
            {"max_retries": 1, "initial_backoff": timedelta(minutes=2), "max_backoff": timedelta(minutes=1)},
            "max_backoff",
        ),
        ({"max_retries": 1, "backoff_multiplier": 0.99}, "backoff_multiplier"),
        ({"max_retries": 1, "backoff_multiplier": float("nan")}, "backoff_multiplier"),
        ({"max_retries": 1, "backoff_multiplier": float("inf")}, "backoff_multiplier"),
    ],
)
def test_a_retry_policy_beyond_its_limits(values: dict[str, Any], wrong: str) -> None:
    """A value out of its range is refused by name."""
    with pytest.raises(ValueError, match=f"^{wrong} must be"):
        RetryPolicy(**values)


def test_backoff_grows_up_to_its_maximum() -> None:
    """Waits grow by the multiplier and never exceed max_backoff, however many retries there were."""
    policy = RetryPolicy(
        max_retries=10,
        initial_backoff=timedelta(seconds=1),
        max_backoff=timedelta(seconds=5),
        backoff_multiplier=2,
    )
    assert [policy.backoff(retry).total_seconds() for retry in range(1, 6)] == [1, 2, 4, 5, 5]
    huge = RetryPolicy(max_retries=10, backoff_multiplier=1e300)
    assert huge.backoff(10) == huge.max_backoff


@pytest.mark.parametrize("value", [0, -1, 1001])
def test_a_concurrency_policy_beyond_its_limits(value: int) -> None:
    """From 1 to 1000 runs at once (TAILOR.md section 5)."""
    assert ConcurrencyPolicy(1).max_concurrent_executions == 1
    assert ConcurrencyPolicy(1000).max_concurrent_executions == 1000
    with pytest.raises(ValueError, match="from 1 to 1000"):
        ConcurrencyPolicy(value)


def test_jobs_sort_by_their_place_as_numbers() -> None:
    """The eleventh trigger comes after the second, and a job before those it triggered."""
    jobs = [
        JobExecution(
            run_id="run",
            place=place,
            name="a-job",
            stacked_name="a-job",
            status=JobStatus.SUCCESS,
            input="null",
            started_at=datetime.now(UTC),
        )
        for place in ("0.10", "0.2", "0.2.0", "0")
    ]
    assert [job.place for job in sorted(jobs, key=by_place)] == ["0", "0.2", "0.2.0", "0.10"]


def test_a_job_has_an_id_that_follows_from_run_and_place() -> None:
    """The same job has the same ID in every process; other places and other runs have other IDs, all UUIDs."""

    def id_of(run_id: str, place: str) -> str:
        return JobExecution(
            run_id=run_id,
            place=place,
            name="a-job",
            stacked_name="a-job",
            status=JobStatus.RUNNING,
            input="null",
            started_at=datetime.now(UTC),
        ).id

    runs = ["01a2002e-b2c9-79af-a70d-707a1cf158dc", "01a2002e-b2c9-79af-a70d-707a1cf158dd"]
    ids = [id_of(run, place) for run in runs for place in ("0", "0.0", "0.1", "0.10")]
    assert ids == [id_of(run, place) for run in runs for place in ("0", "0.0", "0.1", "0.10")]
    assert len({UUID(one) for one in ids}) == 8
    assert {(str(UUID(one)) == one, UUID(one).version, UUID(one).variant) for one in ids} == {(True, 8, RFC_4122)}
