"""Watching a run: the state it is in, then its changes, then the end."""

import asyncio
import time
from itertools import groupby

import pytest

from gqlplugin.errors import NotFoundError, PlatformUnavailableError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus
from tests.contract.support import (
    PATIENCE_SECONDS,
    app_of,
    echo_workflow,
    ended,
    executing,
    failed,
    in_status,
    output_of,
    workflow_of,
)

pytestmark = pytest.mark.anyio


async def test_a_watch_tells_every_status_and_ends(platform: Platform) -> None:
    """From PENDING over RUNNING to the final status, which is the last thing a watch says."""
    began, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> int:
        began.set()
        await release.wait()
        return 1

    waiting = workflow_of(main)
    seen: list[ExecutionStatus] = []
    async with platform, asyncio.timeout(PATIENCE_SECONDS):
        run_id = await waiting.trigger()
        watch = platform.watch(run_id)
        seen.append((await anext(watch)).status)
        async with platform.execute(app_of(waiting)):
            async for run in watch:
                seen.append(run.status)
                if run.status is ExecutionStatus.RUNNING:
                    assert began.is_set()
                    release.set()
    assert [status for status, _ in groupby(seen)] == ["PENDING", "RUNNING", "SUCCESS"]


async def test_a_watch_tells_of_jobs(platform: Platform) -> None:
    """Each change of a job brings the run again, also when it is the same as before."""
    go, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="step")
    async def step(input: int) -> int:
        await go.wait()
        go.clear()
        return input

    @create_workflow_job(name="main-job")
    async def main() -> None:
        for number in range(3):
            await step.trigger(number)
        await release.wait()

    stepping = workflow_of(main)
    seen: list[list[str]] = []
    async with platform, platform.execute(app_of(stepping, jobs=[step])), asyncio.timeout(PATIENCE_SECONDS):
        async for run in platform.watch(await stepping.trigger()):
            jobs = (await platform.get_jobs([run.id]))[run.id]
            steps = [job.status.value for job in jobs if job.name == "step"]
            if steps and steps not in seen:
                seen.append(steps)
                (go if steps[-1] == "RUNNING" else release if len(steps) == 3 else asyncio.Event()).set()
    assert seen[-1] == ["SUCCESS"] * 3
    assert ["RUNNING"] in seen
    assert ["SUCCESS", "SUCCESS", "RUNNING"] in seen


async def test_a_watch_of_an_ended_run_says_so_once(platform: Platform) -> None:
    """A run that has ended is told once, with its output."""
    echo = echo_workflow()
    async with executing(platform, echo):
        run_id = await echo.trigger("x")
        run = await ended(platform, run_id)
        assert [again async for again in platform.watch(run_id)] == [run]
        assert run.output == '"x"'


async def test_an_unknown_run_can_not_be_watched(platform: Platform) -> None:
    """A watch of a run that isn't there is NOT_FOUND."""
    async with executing(platform, echo_workflow()):
        for run_id in ("no-such-run", "\ud800"):
            with pytest.raises(NotFoundError):
                await anext(platform.watch(run_id))


@pytest.mark.needs("progress")
async def test_a_watch_tells_of_progress(platform: Platform) -> None:
    """The main job's progress reaches those who watch, while the job runs."""
    step = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> None:
        for fraction in (0.25, 0.5, 0.75):
            ctx.progress(fraction)
            await step.wait()
            step.clear()

    slow = workflow_of(main)
    seen: list[float] = []
    async with executing(platform, slow), asyncio.timeout(PATIENCE_SECONDS):
        async for run in platform.watch(await slow.trigger()):
            if run.progress is not None and run.progress.fraction not in seen:
                seen.append(run.progress.fraction)
                step.set()
    assert seen == [0.25, 0.5, 0.75]


async def test_many_watch_one_run(platform: Platform) -> None:
    """Fifty watchers of one run all see it end; one that leaves early disturbs nobody."""
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> int:
        await release.wait()
        return 7

    waiting = workflow_of(main)
    async with executing(platform, waiting):
        run_id = await waiting.trigger()
        watchers = [asyncio.create_task(ended(platform, run_id)) for _ in range(50)]
        await in_status(platform, run_id, ExecutionStatus.RUNNING)
        watchers[0].cancel()
        release.set()
        runs = await asyncio.gather(*watchers, return_exceptions=True)
    assert isinstance(runs[0], asyncio.CancelledError)
    assert [run.output for run in runs[1:] if not isinstance(run, BaseException)] == ["7"] * 49


async def _share_of_time_busy(seconds: float) -> float:
    busy, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.process_time() - busy) / (time.monotonic() - began)


async def test_watching_costs_nothing_while_nothing_happens(platform: Platform) -> None:
    """A watch of a run that is busy elsewhere does not keep the process busy."""
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await release.wait()

    waiting = workflow_of(main)
    async with executing(platform, waiting), asyncio.timeout(PATIENCE_SECONDS):
        run_id = await waiting.trigger()
        watchers = [asyncio.create_task(ended(platform, run_id)) for _ in range(10)]
        await in_status(platform, run_id, ExecutionStatus.RUNNING)
        while await _share_of_time_busy(0.5) >= 0.5:  # once may be something else, such as a collection of garbage
            pass
        assert not any(watcher.done() for watcher in watchers)
        release.set()
        await asyncio.gather(*watchers)


async def test_a_resumed_run_can_be_watched_to_its_new_end(platform: Platform) -> None:
    """A watch begun after a resume does not stop at the failure before it."""
    ran: list[int] = []

    @create_workflow_job(name="main-job")
    async def main() -> int:
        ran.append(1)
        if len(ran) < 20:
            raise RuntimeError
        return len(ran)

    failing = workflow_of(main)
    async with executing(platform, failing):
        run_id = await failing.trigger()
        for _ in range(19):
            await failed(platform, run_id)
            await platform.resume(run_id)
        assert await output_of(platform, run_id) == 20


async def test_a_watch_ends_when_the_platform_is_closed(platform: Platform) -> None:
    """Who still watches when the platform is closed is told that it can't answer, and does not wait for ever."""
    waiting = echo_workflow()
    async with platform, asyncio.timeout(PATIENCE_SECONDS):
        run_id = await waiting.trigger("x")
        watch = platform.watch(run_id)
        assert (await anext(watch)).status is ExecutionStatus.PENDING
        rest = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
    with pytest.raises(PlatformUnavailableError):
        await rest
