"""Canceling from another process than the one that executes, which another platform on the same file stands for."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.control import find_cancels, settle_cancels
from gqlplugin.platform.embedded.journal import Journal
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, RetryPolicy
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow
from tests.contract.support import ALICE, echo_workflow, ended, executing, in_status, output_of, until, workflow_of
from tests.platform.embedded.support import query

pytestmark = pytest.mark.anyio


class Held:
    """A job that waits to be released."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.stopped = 0

        @create_workflow_job(name="held")
        async def held() -> str:
            self.started.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.stopped += 1
                raise
            return "done"

        self.workflow = workflow_of(held)


async def test_a_running_job_is_stopped_from_another_process(tmp_path: Path) -> None:
    """The executing process notices, and its job gets CancelledError."""
    held = Held()
    path = tmp_path / "runs.sqlite"
    async with executing(platform := EmbeddedPlatform(path), held.workflow), EmbeddedPlatform(path) as other:
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await in_status(other, run_id, ExecutionStatus.RUNNING)
        await other.cancel(run_id)
        assert (await ended(other, run_id)).status is ExecutionStatus.CANCELED
    assert held.stopped == 1


async def test_a_job_cleans_up_undisturbed(tmp_path: Path) -> None:
    """It is told to stop once, whatever other processes write, and whoever cancels it again, meanwhile."""
    started, cleaning, release, cleaned = (asyncio.Event() for _ in range(4))

    @create_workflow_job(name="tidy")
    async def tidy() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await release.wait()
            cleaned.set()

    path = tmp_path / "runs.sqlite"
    workflows = workflow_of(tidy), echo_workflow()
    async with executing(platform := EmbeddedPlatform(path), *workflows), EmbeddedPlatform(path) as other:
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await in_status(other, run_id, ExecutionStatus.RUNNING)
        await other.cancel(run_id)
        await cleaning.wait()
        try:
            for number in range(3):
                await (platform, other)[number % 2].cancel(run_id)
                noticed = await other.start_workflow("echo-it", "1", caller=ALICE)
                await ended(other, noticed)  # the executing process has noticed
        finally:
            release.set()
        assert (await ended(other, run_id)).status is ExecutionStatus.CANCELED
        assert cleaned.is_set()


async def test_a_cancel_right_after_a_resume_leaves_nothing_going(tmp_path: Path) -> None:
    """Whatever moment it comes at, the run is CANCELED, and no task of it is left."""
    held = Held()
    async with executing(platform := EmbeddedPlatform(tmp_path / "runs.sqlite"), held.workflow):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await platform.cancel(run_id)
        for turns in range(20):
            assert (await ended(platform, run_id)).status is ExecutionStatus.CANCELED
            await platform.resume(run_id)
            for _ in range(turns):
                await asyncio.sleep(turns % 3 / 10_000)
            await platform.cancel(run_id)
            assert (await ended(platform, run_id)).status is ExecutionStatus.CANCELED

            async def is_let_go() -> bool:
                assert platform._worker is not None
                return not platform._worker.is_active(run_id)

            await until(is_let_go)


async def test_a_run_that_was_just_picked_up_stays_canceled(tmp_path: Path) -> None:
    """Canceled while the file still says PENDING, it stays CANCELED whatever its job does then; and can be resumed."""
    path = tmp_path / "runs.sqlite"
    while True:
        held = Held()
        async with executing(platform := EmbeddedPlatform(path), held.workflow), EmbeddedPlatform(path) as other:
            run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
            if (await other.get_execution(run_id)).status is not ExecutionStatus.PENDING:
                continue  # a slow machine: it has been written that it runs
            await other.cancel(run_id)
            assert held.started.is_set()
            held.release.set()  # before the executing process notices
            assert (await other.get_execution(run_id)).status is ExecutionStatus.CANCELED

            async def is_let_go(one: str = run_id, of: EmbeddedPlatform = platform) -> bool:
                assert of._worker is not None
                return not of._worker.is_active(one)

            await until(is_let_go)
            assert (await platform.get_execution(run_id)).status is ExecutionStatus.CANCELED
            await platform.resume(run_id)
            assert await output_of(platform, run_id) == "done"
            return


async def test_without_a_process_that_executes_what_was_left_running_is_ended_by_the_next(tmp_path: Path) -> None:
    """A run that a dead process left RUNNING, and that was canceled since, ends without running again."""
    held = Held()
    path = tmp_path / "runs.sqlite"
    async with EmbeddedPlatform(path) as other:
        async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(0)), held.workflow):
            run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
            await in_status(other, run_id, ExecutionStatus.RUNNING)
        assert (await other.get_execution(run_id)).status is ExecutionStatus.RUNNING
        await other.cancel(run_id)
        assert (await other.get_execution(run_id)).status is ExecutionStatus.RUNNING
        held.started.clear()
        async with executing(EmbeddedPlatform(path), held.workflow):
            run = await ended(other, run_id)
            assert run.status is ExecutionStatus.CANCELED
            assert {job.status for job in (await other.get_jobs([run_id]))[run_id]} == {"CANCELED"}
    assert not held.started.is_set()


async def test_a_run_is_not_picked_up_while_it_is_being_canceled(tmp_path: Path) -> None:
    """What is read as due while the end of a canceled run is being written does not run."""
    path = tmp_path / "runs.sqlite"
    ran: list[int] = []

    @create_workflow_job(name="stuck")
    async def stuck(input: int) -> None:
        ran.append(input)
        await asyncio.Event().wait()

    workflow = workflow_of(stuck)
    async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(0)), workflow):
        first, second = [await platform.start_workflow("the-workflow", n, caller=ALICE) for n in "12"]
        for run_id in (first, second):
            await in_status(platform, run_id, ExecutionStatus.RUNNING)
    ran.clear()
    narrow = EmbeddedPlatform(path, max_concurrent_runs=1, shutdown_grace=timedelta(0))
    async with executing(narrow, workflow), EmbeddedPlatform(path) as other:
        await until(lambda: asyncio.sleep(0, ran))
        assert ran == [1]
        journal, _ = narrow._entering.opened()
        worker = narrow._worker
        assert journal._timer is not None
        assert worker is not None
        journal._timer.cancel()  # from here on it notices what it is told to
        await other.cancel(second)
        async with writing(journal):
            worker.heed_cancels()
            await until(lambda: asyncio.sleep(0, journal.writer._batch.asked))
            worker._runner._max = 2
            for _ in range(3):
                worker.wake()
                await until(lambda: asyncio.sleep(0, not (worker._runner._wake.is_set() or worker._runner._reading)))
        assert (await ended(other, second)).status is ExecutionStatus.CANCELED
        worker.wake()
        await until(lambda: asyncio.sleep(0, not (worker._runner._wake.is_set() or worker._runner._reading)))
    assert ran == [1]
    assert query(path, "SELECT status FROM job WHERE run_id = ?", second) == [("CANCELED",)]


async def test_the_request_to_stop_a_run_is_kept_until_it_is_its_turn(tmp_path: Path) -> None:
    """One that comes while others are dealt with is not forgotten: its run may have been picked up meanwhile."""
    path = tmp_path / "runs.sqlite"
    async with EmbeddedPlatform(path) as platform:
        first, second = [await platform.start_workflow("the-workflow", n, caller=ALICE) for n in "12"]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE run SET status = 'RUNNING'")
        await platform.cancel(first)
        await platform.cancel(second)
    with closing(sqlite3.connect(path)) as connection, connection:
        ended = settle_cancels(connection, [first], datetime.now(UTC))
        assert [run.id for run in ended] == [first]
        assert find_cancels(connection) == [second]
    assert query(path, "SELECT status FROM run ORDER BY seq") == [("CANCELED",), ("RUNNING",)]


@asynccontextmanager
async def writing(journal: Journal) -> AsyncIterator[None]:
    """Keep the writer busy, so that nothing else is written."""
    begun, release = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        release.wait(60)

    held = journal.writer.call(hold)
    await asyncio.to_thread(begun.wait)
    try:
        yield
    finally:
        release.set()
        await held


@pytest.mark.parametrize("policy", [None, RetryPolicy(1, initial_backoff=timedelta(milliseconds=1))])
async def test_a_run_is_not_begun_again_beside_a_thread_that_it_gave_up(policy: RetryPolicy | None) -> None:
    """A plain job that its caller gave up keeps the place of its run: a retry or a resume waits for it."""
    working: list[int] = []
    most: list[int] = []
    release = threading.Event()

    @create_workflow_job(name="plain")
    def plain() -> None:
        working.append(1)
        most.append(len(working))
        assert release.wait(60)
        working.pop()

    @create_workflow_job(name="main")
    async def main() -> str:
        if not most:
            async with asyncio.timeout(0.01):
                await plain.trigger()
        return "done"

    limited = create_workflow(
        name="limited", main_job=main, retry_policy=policy, concurrency_policy=ConcurrencyPolicy(1)
    )
    async with executing(platform := MemoryPlatform(), limited):
        run_id = await limited.trigger()
        try:
            if policy is None:
                assert (await ended(platform, run_id)).status is ExecutionStatus.FAILED
                await platform.resume(run_id)
            again = await in_status(
                platform, run_id, ExecutionStatus.PENDING_RESUME if policy is None else ExecutionStatus.PENDING_RETRY
            )
            assert platform._worker is not None
            assert platform._worker.is_active(run_id)
            platform._worker.wake()
            other = await limited.trigger()
            await until(lambda: asyncio.sleep(0, not _is_looking(platform)))
            assert (await platform.get_execution(run_id)).status is again.status
            assert (await platform.get_execution(other)).status is ExecutionStatus.PENDING
        finally:
            release.set()
        assert [await output_of(platform, one) for one in (run_id, other)] == ["done", "done"]
    assert most == [1]


def _is_looking(platform: EmbeddedPlatform) -> bool:
    """Whether a platform is about to look for runs that are due, or does."""
    assert platform._worker is not None
    runner = platform._worker._runner
    return runner._wake.is_set() or runner._reading
