"""Leaving in good order: running jobs get a time, then their runs go on at the next start."""

import asyncio
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus, JobStatus
from tests.contract.support import ended, in_status, jobs_of, output_of, until
from tests.platform.embedded.support import ROOT, executing, query, workflow_of

pytestmark = pytest.mark.anyio


def set_while_leaving(event: asyncio.Event, platform: EmbeddedPlatform) -> asyncio.Task[None]:
    """Set an event once the platform has begun to wait for the jobs that run."""
    assert platform._worker is not None
    runner = platform._worker._runner

    async def wait() -> None:
        await until(lambda: asyncio.sleep(0, runner._draining))
        event.set()

    return asyncio.create_task(wait())


async def shown_as_running(path: Path) -> None:
    """Wait until the file says that the run is, which it does some time after the run has begun."""
    await until(lambda: asyncio.sleep(0, query(path, "SELECT status FROM run") == [("RUNNING",)]))


async def test_a_job_that_ends_within_the_grace_is_recorded(tmp_path: Path) -> None:
    """A running job gets the grace to end; its run stops at the next trigger, and goes on from there."""
    path = tmp_path / "journal.sqlite"
    ran: Counter[str] = Counter()
    began, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="step-job")
    async def step(input: str) -> str:
        ran[input] += 1
        began.set()
        await release.wait()
        return input

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        ran["main"] += 1
        return [await step.trigger("first"), await step.trigger("second")]

    two_steps = workflow_of(main)
    async with asyncio.timeout(60):
        async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(hours=1)), two_steps):
            run_id = await two_steps.trigger()
            await began.wait()
            await shown_as_running(path)
            releasing = set_while_leaving(release, platform)
        await releasing
    assert ran == {"main": 1, "first": 1}
    assert query(path, "SELECT status FROM run") == [("RUNNING",)]
    assert query(path, "SELECT place, status FROM job ORDER BY place") == [("0", "RUNNING"), ("0.0", "SUCCESS")]
    async with executing(platform := EmbeddedPlatform(path), two_steps):
        assert await output_of(platform, run_id) == ["first", "second"]
    assert ran == {"main": 2, "first": 1, "second": 1}


async def test_a_job_that_takes_longer_than_the_grace_runs_again(tmp_path: Path) -> None:
    """After the grace the job is cancelled, its run stays RUNNING in the file, and goes on at the next start."""
    path = tmp_path / "journal.sqlite"
    ran: Counter[str] = Counter()
    cancelled = asyncio.Event()

    @create_workflow_job(name="quick-job")
    async def quick() -> None:
        ran["quick"] += 1

    @create_workflow_job(name="main-job")
    async def main() -> str:
        ran["main"] += 1
        await quick.trigger()
        if ran["main"] == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return "done"

    stuck = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(seconds=0.1)), stuck):
        run_id = await stuck.trigger()
        await in_status(platform, run_id, ExecutionStatus.RUNNING)
        leaving = time.monotonic()
    assert time.monotonic() - leaving >= 0.1
    assert cancelled.is_set()
    assert query(path, "SELECT status, finished_at, error FROM run") == [("RUNNING", None, None)]
    async with executing(platform := EmbeddedPlatform(path), stuck):
        assert await output_of(platform, run_id) == "done"
        assert {job.status for job in (await jobs_of(platform, run_id)).values()} == {JobStatus.SUCCESS}
    assert ran == {"main": 2, "quick": 1}


@pytest.mark.parametrize("how", ["gather", "except"])
async def test_a_careless_body_does_not_turn_a_shutdown_into_an_outcome(tmp_path: Path, how: str) -> None:
    """A body that catches everything around its triggers is still stopped between them, not failed or half done."""
    path = tmp_path / "journal.sqlite"
    began, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="step-job")
    async def step(input: int) -> int:
        began.set()
        await release.wait()
        return input

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        if how == "gather":
            parts = await asyncio.gather(*(step.trigger(number) for number in range(3)), return_exceptions=True)
            return [str(part) for part in parts]
        results = []
        for number in range(3):
            try:
                results.append(str(await step.trigger(number)))
            except BaseException:  # as careless bodies do
                results.append("lost")
        return results

    careless = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(minutes=1)), careless):
        run_id = await careless.trigger()
        await began.wait()
        await shown_as_running(path)
        releasing = set_while_leaving(release, platform)
    await releasing
    assert query(path, "SELECT status FROM run") == [("RUNNING",)]
    async with executing(platform := EmbeddedPlatform(path), careless):
        assert await output_of(platform, run_id) == ["0", "1", "2"]


async def test_starts_that_are_under_way_at_the_end_are_kept_or_refused(tmp_path: Path) -> None:
    """A start that races with the end of the platform is answered: with a run that is in the file, or an error."""
    path = tmp_path / "journal.sqlite"

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return "done"

    quick = workflow_of(main)
    async with executing(EmbeddedPlatform(path), quick):
        starts = [asyncio.create_task(quick.trigger()) for _ in range(20)]
        await asyncio.sleep(0)
    answers = await asyncio.wait_for(asyncio.gather(*starts, return_exceptions=True), 60)
    assert all(isinstance(answer, (str, PlatformUnavailableError)) for answer in answers)
    kept = {row[0] for row in query(path, "SELECT id FROM run")}
    assert {answer for answer in answers if isinstance(answer, str)} <= kept
    async with executing(platform := EmbeddedPlatform(path), quick):
        for run_id in kept:
            assert (await ended(platform, run_id)).status is ExecutionStatus.SUCCESS


async def test_a_failing_service_leaves_the_platform_in_order(tmp_path: Path) -> None:
    """An exception out of the block that executes closes the platform as a normal end does."""
    path = tmp_path / "journal.sqlite"

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return "done"

    quick = workflow_of(main)
    run_ids = []

    async def serve() -> None:
        async with executing(EmbeddedPlatform(path), quick):
            run_ids.append(await quick.trigger())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await serve()
    async with executing(platform := EmbeddedPlatform(path), quick):
        assert await output_of(platform, run_ids[0]) == "done"


PLAIN_JOB = """
import asyncio, sys, threading
from datetime import timedelta
from gqlplugin import create_workflow, create_workflow_job, define_app
from gqlplugin.platform.embedded import EmbeddedPlatform

began = threading.Event()

@create_workflow_job(name="never-ends")
def never_ends() -> None:
    began.set()
    threading.Event().wait()

endless = create_workflow(name="endless", main_job=never_ends)

async def main():
    platform = EmbeddedPlatform(sys.argv[1], shutdown_grace=timedelta(milliseconds=50))
    async with platform, platform.execute(define_app("app", workflows=[endless])):
        await endless.trigger()
        await asyncio.to_thread(began.wait)

asyncio.run(main())
"""


async def test_a_plain_job_does_not_hold_the_process(tmp_path: Path) -> None:
    """A process with a plain job that doesn't end leaves after the grace all the same, and its run goes on later."""
    path = tmp_path / "journal.sqlite"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PLAIN_JOB, str(path), cwd=ROOT)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert query(path, "SELECT status FROM run") == [("RUNNING",)]


async def test_nobody_goes_on_with_a_run_whose_thread_still_works(tmp_path: Path) -> None:
    """A plain job that the shutdown did not wait for keeps the file, until its thread has ended."""
    path = tmp_path / "journal.sqlite"
    working: list[int] = []
    release = threading.Event()

    @create_workflow_job(name="main-job")
    def main() -> int:
        working.append(1)
        assert release.wait(60)
        return len(working)

    plain = workflow_of(main)
    try:
        async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(0)), plain):
            run_id = await plain.trigger()
            await in_status(platform, run_id, ExecutionStatus.RUNNING)
        async with executing(platform := EmbeddedPlatform(path), plain):
            journal, _ = platform._entering.opened()
            assert journal.on_poll is not None  # it stands by
            journal.on_poll()
            assert journal.on_poll is not None
            assert working == [1]
            release.set()
            assert await output_of(platform, run_id) == 2
    finally:
        release.set()


STUBBORN_JOB = """
import asyncio, signal, sys
from datetime import timedelta
from gqlplugin import create_workflow, create_workflow_job, define_app, tasks
from gqlplugin.platform.embedded import EmbeddedPlatform

tasks.CLEANUP_SECONDS = 0.1
began = asyncio.Event()

async def stubborn():
    while True:
        try:
            began.set()
            await asyncio.sleep(3600)
        except BaseException:
            pass

@create_workflow_job(name="inner-job")
async def inner() -> None:
    if sys.argv[2] == "trigger":
        began.set()
        return
    if sys.argv[2] == "gather":
        await asyncio.gather(stubborn(), stubborn(), return_exceptions=True)
    elif sys.argv[2] == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(stubborn())
    await stubborn()

@create_workflow_job(name="main-job")
async def main_job() -> str:
    while sys.argv[2] != "again":
        try:
            await inner.trigger()
        except BaseException:
            pass
    return "done"

workflow = create_workflow(name="endless", main_job=main_job)

async def main():
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    platform = EmbeddedPlatform(sys.argv[1], shutdown_grace=timedelta(milliseconds=50))
    async with platform, platform.execute(define_app("app", workflows=[workflow])):
        if sys.argv[2] != "again":
            await workflow.trigger()
            await began.wait()
            print("began", flush=True)
            await leaving.wait()
        else:
            (run,) = (await platform.list_executions(everything, first=1)).executions
            async for run in platform.watch(run.id):
                pass
            print(run.status, flush=True)

from gqlplugin.runs import ExecutionFilter
everything = ExecutionFilter()
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["plain", "gather", "group", "trigger"])
async def test_a_job_that_ignores_its_cancellation_does_not_hold_the_process(tmp_path: Path, how: str) -> None:
    """A process whose job catches whatever is to stop it ends on SIGTERM all the same, and its run goes on later."""
    path = tmp_path / "journal.sqlite"
    command = [sys.executable, "-c", STUBBORN_JOB, str(path)]
    process = await asyncio.create_subprocess_exec(*command, how, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"began\n"
    process.terminate()
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"ignores asyncio.CancelledError" in errors
    assert query(path, "SELECT status FROM run") == [("RUNNING",)]
    again = await asyncio.create_subprocess_exec(*command, "again", cwd=ROOT, stdout=PIPE)
    said, _ = await asyncio.wait_for(again.communicate(), 60)
    # in which the body makes no triggers: those that were recorded are missing
    assert said == (b"FAILED\n" if how == "trigger" else b"SUCCESS\n")
