"""Two processes with one file: one executes, the other starts, reads and resumes, and takes over."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus
from tests.contract.support import EVERYTHING, failed, in_status, output_of, until
from tests.platform.embedded.support import ROOT, app, breaks, executing, who, workflow_of

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def other_process(path: Path) -> AsyncIterator[Process]:
    """Another process that executes the file."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.platform.embedded.support", str(path), "--other-process", cwd=ROOT, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def looks_of(platform: EmbeddedPlatform) -> list[float]:
    """When a platform that stands by looks from now on whether it may take over, up to when it may."""
    journal, _ = platform._entering.opened()
    worker, looks, stand_by = platform._worker, list[float](), journal.on_poll
    assert worker is not None
    assert stand_by is not None

    def look() -> None:
        if not worker._beginning:
            looks.append(asyncio.get_running_loop().time())
        stand_by()

    journal.on_poll = look
    return looks


async def test_a_change_by_another_process_is_seen_at_the_next_look(tmp_path: Path) -> None:
    """A process looks twenty times a second, and sees at each look what was committed before it."""
    path = tmp_path / "journal.sqlite"
    seen: list[str] = []
    async with EmbeddedPlatform(path) as platform, EmbeddedPlatform(path) as other:
        journal, _ = platform._entering.opened()
        assert journal._timer is not None
        assert journal._timer.when() - asyncio.get_running_loop().time() <= 0.05
        journal._timer.cancel()  # from here on it looks when it is told to
        journal.on_foreign_commit = lambda: seen.append("a change")
        for _ in range(10):  # the first look may see that the other one opened the file, or an earlier look has seen it
            before = len(seen)
            await other.start_workflow("elsewhere", "null", caller=User())
            journal.writer.poll()
            await until(lambda before=before: asyncio.sleep(0, len(seen) > before))  # type: ignore[misc] # of the loop


async def test_another_process_stands_by_and_takes_over(tmp_path: Path) -> None:
    """Beside an executing process one starts, reads and resumes; when the first is killed it goes on with its runs."""
    path = tmp_path / "journal.sqlite"
    me = os.getpid()
    async with other_process(path) as other, EmbeddedPlatform(path) as platform, platform.execute(app):
        assert await output_of(platform, await who.trigger("x")) == [other.pid, other.pid]

        broken = await breaks.trigger()
        await failed(platform, broken)
        await platform.resume(broken)
        await failed(platform, broken)

        held = await who.trigger("hold")
        watch = platform.watch(held)

        async def first_job_recorded() -> bool:
            jobs = (await platform.get_jobs([held]))[held]
            return any(job.status.value == "SUCCESS" for job in jobs)

        await until(first_job_recorded)
        looks = looks_of(platform)
        other.kill()
        await other.wait()
        looks.clear()
        async with asyncio.timeout(60):
            last = [run async for run in watch][-1]
        assert len(looks) <= 1  # it may have looked when the process was dead and not yet known to be
        assert json.loads(last.output or "") == [other.pid, me]

        await platform.resume(broken)
        assert await output_of(platform, broken) == me
        assert len((await platform.list_executions(EVERYTHING, first=100)).executions) == 3


async def test_a_process_that_only_opens_the_file_starts_runs_for_another(tmp_path: Path) -> None:
    """Without executing anything a process may start and watch; the executing one runs it."""
    path = tmp_path / "journal.sqlite"
    async with other_process(path) as other, EmbeddedPlatform(path) as platform:
        assert await output_of(platform, await who.trigger("x")) == [other.pid, other.pid]


async def test_a_takeover_runs_each_run_once(tmp_path: Path) -> None:
    """A platform that takes over while its loop is busy begins once: what is due is not run twice."""
    path = tmp_path / "journal.sqlite"
    ran: list[int] = []
    broken = True

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        if broken:
            raise RuntimeError
        ran.append(input)
        return input

    mended = workflow_of(main)
    first, second = EmbeddedPlatform(path), EmbeddedPlatform(path)
    async with first, second:
        async with executing(first, mended):
            failures = [await mended.trigger(number) for number in range(5)]
            for run_id in failures:
                await failed(first, run_id)
        broken = False
        leaving, entered = asyncio.Event(), asyncio.Event()

        async def execute_first() -> None:
            async with first.execute(app):
                entered.set()
                await leaving.wait()

        leader = asyncio.create_task(execute_first())
        await entered.wait()
        async with executing(second, mended):
            pending = [await mended.trigger(number) for number in range(5, 10)]
            for run_id in failures:
                await second.resume(run_id)
            leaving.set()
            await leader
            time.sleep(0.3)  # noqa: ASYNC251 - the loop is to be busy while the lock is free
            for run_id in failures + pending:
                await output_of(second, run_id)
    assert sorted(ran) == list(range(10))


async def test_the_lock_is_free_after_a_graceful_end(tmp_path: Path) -> None:
    """When the executing platform ends in good order, the one that stands by goes on at its next look."""
    path = tmp_path / "journal.sqlite"

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return "done"

    workflow = workflow_of(main)
    first, second = EmbeddedPlatform(path), EmbeddedPlatform(path)
    async with first, second:
        leaving, entered = asyncio.Event(), asyncio.Event()

        async def execute_first() -> None:
            async with first.execute(app):
                entered.set()
                await leaving.wait()

        task = asyncio.create_task(execute_first())
        await entered.wait()
        async with executing(second, workflow):
            run_id = await workflow.trigger()
            assert (await second.get_execution(run_id)).status is ExecutionStatus.PENDING
            looks = looks_of(second)
            leaving.set()
            await task
            looks.clear()
            await in_status(second, run_id, ExecutionStatus.SUCCESS)
            assert len(looks) <= 1  # it may have looked before the task was seen to have ended
