"""Canceling from another process than the one that executes, which another platform on the same file stands for."""

import asyncio
from pathlib import Path

import pytest

from gqlplugin.execution import ExecutionStatus
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.contract.support import ALICE, ended, executing, in_status, output_of, until, workflow_of

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
    workflow = workflow_of(tidy)
    async with executing(platform := EmbeddedPlatform(path), workflow), EmbeddedPlatform(path) as other:
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await in_status(other, run_id, ExecutionStatus.RUNNING)
        await other.cancel(run_id)
        await cleaning.wait()
        for number in range(3):
            await (platform, other)[number % 2].cancel(run_id)
            noticed = await other.start_workflow("the-workflow", "null", caller=ALICE)
            await in_status(other, noticed, ExecutionStatus.RUNNING)  # the executing process has noticed
        release.set()
        assert (await ended(other, run_id)).status is ExecutionStatus.CANCELED
        assert cleaned.is_set()


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
        async with executing(platform := EmbeddedPlatform(path), held.workflow):
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
