"""Watching runs of a file: reads are shared, and what other processes do elsewhere costs none."""

import asyncio
from pathlib import Path

import pytest

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus, WorkflowExecution
from tests.contract.support import app_of, echo_workflow, ended, until, workflow_of

pytestmark = pytest.mark.anyio


class CountingPlatform(EmbeddedPlatform):
    """Counts the reads of runs."""

    reads = 0

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        self.reads += 1
        return await super().get_execution(run_id)


async def test_five_hundred_watchers_share_each_read(tmp_path: Path) -> None:
    """What costs one watcher a read does not cost five hundred of them more."""
    step = asyncio.Event()

    @create_workflow_job(name="step")
    async def short(input: int) -> int:
        return input

    @create_workflow_job(name="main-job")
    async def main() -> None:
        for number in range(20):
            await step.wait()
            step.clear()
            await short.trigger(number)

    stepping = workflow_of(main)
    platform = CountingPlatform(tmp_path / "runs.sqlite")
    seen = [0] * 500
    async with platform, platform.execute(app_of(stepping, jobs=[short])), asyncio.timeout(60):
        run_id = await stepping.trigger()

        async def watch(number: int) -> ExecutionStatus:
            statuses = []
            async for run in platform.watch(run_id):
                statuses.append(run.status)
                seen[number] = len(statuses)
            return statuses[-1]

        watchers = [asyncio.create_task(watch(number)) for number in range(500)]
        await until(lambda: asyncio.sleep(0, all(seen)))
        first = platform.reads
        for _ in range(20):
            told = sum(seen)
            step.set()
            await until(lambda told=told: asyncio.sleep(0, sum(seen) > told))  # type: ignore[misc] # of the loop
        assert set(await asyncio.gather(*watchers)) == {ExecutionStatus.SUCCESS}
    assert first < 20
    assert platform.reads - first < 200
    assert sum(seen) > 500 * 10


async def test_commits_of_others_bring_a_run_again_only_when_it_is_concerned(tmp_path: Path) -> None:
    """Another process writes other runs: nothing is read of a run that is watched. It writes this one: it comes."""
    path = tmp_path / "runs.sqlite"
    platform, other = CountingPlatform(path), EmbeddedPlatform(path)
    echo = echo_workflow()
    async with platform, other, asyncio.timeout(60):
        run_id = await platform.start_workflow("echo-it", "1", caller=User())
        watching = asyncio.create_task(ended(platform, run_id))
        await until(lambda: asyncio.sleep(0, platform.reads))
        await other.start_workflow("echo-it", "2", caller=User())
        await until(lambda: asyncio.sleep(0, platform.reads == 2))  # from now on it is known how it looks
        for number in range(10):
            await other.start_workflow("echo-it", str(number), caller=User())
            await asyncio.sleep(0.03)
        assert platform.reads == 2
        async with other.execute(app_of(echo)):
            assert (await watching).output == "1"


async def test_a_watcher_that_waits_is_told_when_the_journal_is_closed(tmp_path: Path) -> None:
    """Each of those who wait gets an error of their own."""
    platform = EmbeddedPlatform(tmp_path / "runs.sqlite")
    seen: list[WorkflowExecution] = []
    async with platform, asyncio.timeout(60):
        run_id = await platform.start_workflow("echo-it", "1", caller=User())

        async def watch() -> None:
            async for run in platform.watch(run_id):
                seen.append(run)  # noqa: PERF401 - one by one

        watching = [asyncio.create_task(watch()) for _ in range(3)]
        await until(lambda: asyncio.sleep(0, len(seen) == 3))
    errors = await asyncio.gather(*watching, return_exceptions=True)
    assert all(isinstance(error, PlatformUnavailableError) for error in errors)
    assert len(set(map(id, errors))) == 3
