"""What is counted and measured: by names, statuses and codes, never by IDs."""

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gqlplugin import telemetry
from gqlplugin.app import define_app
from gqlplugin.errors import (
    FailedPreconditionError,
    ForbiddenError,
    GqlpluginError,
    JobFailedError,
    PlatformUnavailableError,
)
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.claims import count_queued
from gqlplugin.platform.embedded.rows import to_microseconds
from gqlplugin.platform.queue import QueueDepth
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, RetryPolicy
from gqlplugin.testing import MemoryPlatform
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended, failed, in_status, output_of, until
from tests.telemetry.support import Metrics, executing

pytestmark = pytest.mark.anyio


@create_workflow_job(name="counted-job")
async def counted(number: int) -> int:
    if number < 0:
        raise JobFailedError("a secret message", code="BELOW_ZERO")
    return number


counting = create_workflow(
    name="counting-runs", main_job=counted, permission=lambda user, invoker: invoker is None and user.is_anonymous
)


async def test_triggers_are_counted_by_outcome(metrics: Metrics) -> None:
    """A call that starts runs counts once, as started or by the code of its error."""
    closed = create_workflow(name="closed-to-all", main_job=counted, permission=lambda *_: False)
    async with executing(counting, closed) as platform:
        for _ in range(2):
            await ended(platform, await counting.trigger(1))
        for run_id in await counting.trigger_many([1, 2]):
            await ended(platform, run_id)
        with pytest.raises(ForbiddenError):
            await closed.trigger(1)
        with pytest.raises(Exception, match="key"):
            await counting.trigger(1, idempotency_key="k" * 300)
    assert metrics.counts("gqlplugin.triggers") == {
        ("STARTED", "counting-runs"): 3,
        ("FORBIDDEN", "closed-to-all"): 1,
        ("BAD_USER_INPUT", "counting-runs"): 1,
    }


async def test_the_starts_of_jobs_are_counted_once(metrics: Metrics) -> None:
    """What a job starts counts when it starts, and not when a replay answers from the record."""
    is_broken = [True]

    @create_workflow_job(name="starting-job")
    async def main_job() -> str:
        run_id = await counting.trigger(1)
        if is_broken:
            raise RuntimeError
        return run_id

    workflow = create_workflow(name="starts-another", main_job=main_job)
    async with executing(workflow, counting) as platform:
        run_id = await workflow.trigger()
        await failed(platform, run_id)
        is_broken.clear()
        await platform.resume(run_id)
        await ended(platform, await output_of(platform, run_id))
    assert metrics.counts("gqlplugin.triggers") == {("STARTED", "counting-runs"): 1, ("STARTED", "starts-another"): 1}


async def test_ends_of_runs_are_counted_by_status(metrics: Metrics) -> None:
    """Each run counts at its end, also when it is canceled while it waits; a try before another one does not."""
    point = define_wait_point("point", payload=str, result=bool)

    @create_workflow_job(name="waiting-job")
    async def main_job() -> bool:
        return await point.wait("for you")

    waiting = create_workflow(name="waiting-run", main_job=main_job)
    retried = create_workflow(
        name="tried-twice",
        main_job=counted,
        retry_policy=RetryPolicy(max_retries=1, initial_backoff=timedelta(milliseconds=1)),
    )
    async with executing(counting, waiting, retried) as platform:
        await ended(platform, await counting.trigger(1))
        await failed(platform, await counting.trigger(-1))
        await failed(platform, await retried.trigger(-1))
        waits = await waiting.trigger()
        await in_status(platform, waits, ExecutionStatus.WAITING)
        await platform.cancel(waits)
    expected = {
        ("SUCCESS", "counting-runs"): 1,
        ("FAILED", "counting-runs"): 1,
        ("FAILED", "tried-twice"): 1,
        ("CANCELED", "waiting-run"): 1,
    }
    assert metrics.counts("gqlplugin.runs.ended") == expected
    assert metrics.counts("gqlplugin.run.duration") == expected
    assert metrics.counts("gqlplugin.job.duration") == {
        ("counted-job", "SUCCESS", "counting-runs"): 1,
        ("counted-job", "FAILED", "counting-runs"): 1,
        ("counted-job", "FAILED", "tried-twice"): 2,
    }


async def test_a_cancel_of_a_running_run_is_counted_once(metrics: Metrics) -> None:
    """A run that is told to stop counts when it has stopped, once."""
    began = asyncio.Event()

    @create_workflow_job(name="long-job")
    async def main_job() -> None:
        began.set()
        await asyncio.Event().wait()

    workflow = create_workflow(name="long-running", main_job=main_job)
    async with executing(workflow) as platform:
        run_id = await workflow.trigger()
        await began.wait()
        await platform.cancel(run_id)
        await ended(platform, run_id)
    assert metrics.counts("gqlplugin.runs.ended") == {("CANCELED", "long-running"): 1}


async def test_durations_are_in_seconds(metrics: Metrics) -> None:
    """A run that waits for a moment took at least that long, and so did its job."""

    @create_workflow_job(name="slow-job")
    async def main_job() -> None:
        await asyncio.sleep(0.05)

    workflow = create_workflow(name="slow-run", main_job=main_job)
    async with executing(workflow) as platform:
        run = await ended(platform, await workflow.trigger())
        assert run.finished_at is not None
        whole = (run.finished_at - run.created_at).total_seconds()
    (job,), (point,) = metrics.points("gqlplugin.job.duration"), metrics.points("gqlplugin.run.duration")
    assert 0.05 <= job.sum <= point.sum  # type: ignore[union-attr]  # they are histograms
    assert point.sum == pytest.approx(whole)  # type: ignore[union-attr]  # it is a histogram


async def test_the_queue_is_what_has_not_begun(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Runs that a limit holds back are the depth of the queue; what runs is not, and neither is what waits."""
    monkeypatch.setattr("gqlplugin.platform.queue._REFRESH_SECONDS", 0.01)
    go = asyncio.Event()

    @create_workflow_job(name="queued-job")
    async def main_job() -> None:
        await go.wait()

    limited = create_workflow(name="one-at-a-time", main_job=main_job, concurrency_policy=ConcurrencyPolicy(1))
    platform = EmbeddedPlatform(tmp_path / "journal.sqlite")

    async def depth_is(expected: dict[tuple[str, ...], int]) -> None:
        async def reached() -> bool:
            return metrics.counts("gqlplugin.queue.depth") == expected

        await until(reached)

    async with platform, platform.execute(define_app("queued", workflows=[limited, counting])):
        await depth_is({("one-at-a-time",): 0, ("counting-runs",): 0})
        run_ids = [await limited.trigger() for _ in range(4)]
        await depth_is({("one-at-a-time",): 3, ("counting-runs",): 0})
        go.set()
        for run_id in run_ids:
            await ended(platform, run_id)
        await depth_is({("one-at-a-time",): 0, ("counting-runs",): 0})
    assert metrics.counts("gqlplugin.queue.depth") == {}


async def test_a_run_that_has_begun_is_not_counted(tmp_path: Path) -> None:
    """What runs here is no part of the queue, though the file does not say so in its first moments.

    What is due at once is counted whatever the clock says; what waits for a time, when that has come.
    """
    path = tmp_path / "journal.sqlite"
    async with EmbeddedPlatform(path):
        run_ids = [await counting.trigger(1) for _ in range(3)]
    now = datetime.now(UTC)
    with closing(sqlite3.connect(path)) as connection:
        assert count_queued(connection, active=[], now=now) == {"counting-runs": 3}
        assert count_queued(connection, active=[*run_ids[:2], "another"], now=now) == {"counting-runs": 1}
        assert count_queued(connection, active=[], now=now - timedelta(hours=1)) == {"counting-runs": 3}
        connection.execute("UPDATE run SET due_at = ? WHERE id = ?", (to_microseconds(now), run_ids[0]))  # a retry
        assert count_queued(connection, active=[], now=now - timedelta(hours=1)) == {"counting-runs": 2}
        assert count_queued(connection, active=[], now=now) == {"counting-runs": 3}


@pytest.mark.parametrize(
    "error", [PlatformUnavailableError(), FailedPreconditionError("It is not set up."), RuntimeError()]
)
async def test_a_queue_that_could_not_be_counted_is_counted_again(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Whatever the platform fails with, it is logged, and the next count is told."""
    monkeypatch.setattr("gqlplugin.platform.queue._REFRESH_SECONDS", 0.01)
    monkeypatch.setattr("gqlplugin.tasks.RESTART_SECONDS", 0.01)
    failures = [error]

    async def count() -> Mapping[str, int]:
        if failures:
            raise failures.pop()
        return {"orders": 3}

    async def is_told() -> bool:
        return metrics.counts("gqlplugin.queue.depth") == {("orders",): 3}

    depth = QueueDepth(count, ["orders"])
    await until(is_told)
    depth.stop()
    assert (f"could not be counted ({error.code})" if isinstance(error, GqlpluginError) else "failed") in caplog.text


async def test_platforms_tell_how_many_wait(metrics: Metrics) -> None:
    """What several platforms tell is added up; one that can't tell costs the others nothing, and one may stop."""

    def broken() -> Mapping[str, int]:
        raise RuntimeError

    forget = [telemetry.observe_queue(lambda: {"orders": 2, "mails": 1}), telemetry.observe_queue(broken)]
    last = telemetry.observe_queue(lambda: {"orders": 5})
    assert metrics.counts("gqlplugin.queue.depth") == {("mails",): 1, ("orders",): 7}
    last()
    assert metrics.counts("gqlplugin.queue.depth") == {("mails",): 1, ("orders",): 2}
    for one in forget:
        one()
        one()
    assert metrics.counts("gqlplugin.queue.depth") == {}


async def test_metrics_are_collected_by_any_thread(metrics: Metrics) -> None:
    """A reader's own thread asks for the depth of the queue while runs go on."""
    async with executing(counting) as platform:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(metrics.counts("gqlplugin.queue.depth")))
        thread.start()
        await asyncio.to_thread(thread.join)
        await ended(platform, await counting.trigger(1))
    assert found == [{("counting-runs",): 0}]


async def test_metrics_hold_neither_ids_nor_words(metrics: Metrics) -> None:
    """Run IDs, arguments and messages of errors are in no metric: a metric has as many series as it has values."""
    async with executing(counting) as platform:
        run_id = await counting.trigger(-123456)
        await failed(platform, run_id)
    text = metrics.text()
    assert "counting-runs" in text
    assert not any(word in text for word in (run_id, "123456", "a secret message"))


async def test_a_platform_in_memory_tells_its_queue(metrics: Metrics) -> None:
    """Several platforms of one process are one sum."""
    async with executing(counting), MemoryPlatform() as other, other.execute(define_app("o", workflows=[counting])):
        assert metrics.counts("gqlplugin.queue.depth") == {("counting-runs",): 0}
