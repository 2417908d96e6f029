"""What can be seen of a run while it runs: its status, its jobs', their logs and progress."""

import asyncio

import pytest

from gqlplugin.errors import NotFoundError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus, Progress
from tests.contract.support import app_of, executing, in_status, jobs_of, output_of, until, workflow_of

pytestmark = pytest.mark.anyio


async def test_running_and_suspended_jobs_are_visible(platform: Platform) -> None:
    """A job that waits for another is SUSPEND, the one that works is RUNNING, those that ended are SUCCESS."""
    release = asyncio.Event()

    @create_workflow_job(name="quick")
    async def quick() -> None:
        return None

    @create_workflow_job(name="waits")
    async def waits() -> None:
        await release.wait()

    @create_workflow_job(name="middle")
    async def middle() -> None:
        await quick.trigger()
        await waits.trigger()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await middle.trigger()

    visible = workflow_of(main)
    expected = {
        "main-job": "SUSPEND",
        "main-job/middle": "SUSPEND",
        "main-job/middle/quick": "SUCCESS",
        "main-job/middle/waits": "RUNNING",
    }
    async with executing(platform, visible):
        run_id = await visible.trigger()

        async def as_expected() -> bool:
            jobs = await jobs_of(platform, run_id)
            return {name: job.status.value for name, job in jobs.items()} == expected

        await until(as_expected)
        run = await in_status(platform, run_id, ExecutionStatus.RUNNING)
        assert run.started_at is not None
        assert run.finished_at is None
        release.set()
        await output_of(platform, run_id)
        assert {job.status.value for job in (await jobs_of(platform, run_id)).values()} == {"SUCCESS"}


@pytest.mark.needs("logs")
async def test_logs_are_visible_while_a_job_runs_and_stay(platform: Platform) -> None:
    """Lines written with `ctx.log` are kept with their job, in order, with time and level."""
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> None:
        ctx.log.info("charged %s for %d", "tea", 3)
        ctx.log.warning("100%")
        await release.wait()
        ctx.log.error("half of a character: \ud800")

    talking = workflow_of(main)
    async with executing(platform, talking):
        run_id = await talking.trigger()

        async def two_lines() -> bool:
            jobs = await jobs_of(platform, run_id)
            return "main-job" in jobs and len(jobs["main-job"].logs) == 2

        await until(two_lines)
        release.set()
        await output_of(platform, run_id)
        logs = (await jobs_of(platform, run_id))["main-job"].logs
    assert [line.split(" ", 1)[1] for line in logs[:2]] == ["INFO charged tea for 3", "WARNING 100%"]
    assert len(logs) == 3


@pytest.mark.needs("logs")
async def test_what_a_job_prints_goes_to_its_log(platform: Platform) -> None:
    """With `capture_print` each line that a job prints is a line of its own log, in async and in plain functions."""

    @create_workflow_job(name="plain-job")
    def plain() -> None:
        print("in a thread")  # noqa: T201 - the point

    @create_workflow_job(name="main-job")
    async def main() -> None:
        print("in the event", end=" ")  # noqa: T201 - the point
        await plain.trigger()
        print("loop")  # noqa: T201 - the point

    printing = workflow_of(main)
    async with platform, platform.execute(app_of(printing, capture_print=True)):
        run_id = await printing.trigger()
        await output_of(platform, run_id)
        jobs = await jobs_of(platform, run_id)
    lines = {name: [line.split(" ", 1)[1] for line in job.logs] for name, job in jobs.items()}
    assert lines == {"main-job": ["INFO in the event loop"], "main-job/plain-job": ["INFO in a thread"]}


@pytest.mark.needs("logs")
@pytest.mark.parametrize(
    ("line", "count"),
    [("x" * 1000, 1000), ("y" * 200_000, 3), ("é" * 1000, 200), ("", 200_000)],
    ids=lambda v: str(v)[:5],
)
async def test_logs_are_bounded(platform: Platform, line: str, count: int) -> None:
    """A job keeps at most 64 KiB of its log, says that it is full, and goes on."""

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> str:
        for _ in range(count):
            ctx.log.debug(line)
        return "done"

    chatty = workflow_of(main)
    async with executing(platform, chatty):
        run_id = await chatty.trigger()
        assert await output_of(platform, run_id) == "done"
        logs = (await jobs_of(platform, run_id))["main-job"].logs
    assert sum(len(line.encode()) + 1 for line in logs) <= 64 * 1024 + 100
    assert "full" in logs[-1]


@pytest.mark.needs("logs")
async def test_a_failed_job_keeps_its_log(platform: Platform) -> None:
    """What a job wrote before it failed can be read afterwards."""

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> None:
        ctx.log.info("before the end")
        raise RuntimeError

    breaking = workflow_of(main)
    async with executing(platform, breaking):
        run_id = await breaking.trigger()
        await in_status(platform, run_id, ExecutionStatus.FAILED)
        logs = (await jobs_of(platform, run_id))["main-job"].logs
    assert "before the end" in logs[0]


@pytest.mark.needs("progress")
async def test_progress_is_visible_while_a_job_runs(platform: Platform) -> None:
    """What the main job says of its progress is the run's; any job's is its own."""
    release = asyncio.Event()

    @create_workflow_job(name="inner-job")
    async def inner(input: None, ctx: JobContext) -> None:
        ctx.progress(0.25)
        await release.wait()

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> None:
        ctx.progress(0.5, "half \ud800")
        await inner.trigger()
        ctx.progress(1, "all")

    progressing = workflow_of(main)
    async with executing(platform, progressing):
        run_id = await progressing.trigger()

        async def inner_progress() -> Progress | None:
            jobs = await jobs_of(platform, run_id)
            return jobs["main-job/inner-job"].progress if "main-job/inner-job" in jobs else None

        assert await until(inner_progress) == Progress(0.25, None)
        progress = (await platform.get_execution(run_id)).progress
        assert progress is not None
        assert progress.fraction == 0.5
        release.set()
        await output_of(platform, run_id)
        assert (await platform.get_execution(run_id)).progress == Progress(1, "all")


@pytest.mark.needs("progress")
@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf")])
async def test_progress_out_of_range_is_refused(platform: Platform, fraction: float) -> None:
    """A fraction below 0, above 1, or no number at all is an error in the job that says it."""

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> str:
        try:
            ctx.progress(fraction)
        except ValueError:
            return "refused"
        return "taken"

    odd = workflow_of(main)
    async with executing(platform, odd):
        assert await output_of(platform, await odd.trigger()) == "refused"


async def test_jobs_of_several_runs_are_read_at_once(platform: Platform) -> None:
    """`get_jobs` answers for every ID it is given, an unknown one with no jobs, none asked with nothing."""

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        return input

    workflow = workflow_of(main)
    async with executing(platform, workflow):
        run_ids = [await workflow.trigger(number) for number in range(3)]
        for run_id in run_ids:
            await output_of(platform, run_id)
        jobs = await platform.get_jobs([*run_ids, "unknown", run_ids[0]])
        assert {run_id: [job.result for job in found] for run_id, found in jobs.items()} == {
            **{run_id: [str(number)] for number, run_id in enumerate(run_ids)},
            "unknown": [],
        }
        assert await platform.get_jobs([]) == {}


@pytest.mark.needs("jobs-by-id")
async def test_a_job_is_found_by_its_id(platform: Platform) -> None:
    """`get_job` answers with what `get_jobs` shows of it, whatever other runs there are; an unknown ID is NOT_FOUND."""
    inner_is_free = asyncio.Event()

    @create_workflow_job(name="inner-job")
    async def inner(input: int) -> int:
        await inner_is_free.wait()
        return input

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        return await inner.trigger(input)

    nested = workflow_of(main)
    async with executing(platform, nested):
        run_ids = await asyncio.gather(*(nested.trigger(number) for number in range(20)))

        async def all_suspended() -> bool:
            found = await platform.get_jobs(run_ids)
            return all([job.status for job in jobs] == ["SUSPEND", "RUNNING"] for jobs in found.values())

        await until(all_suspended)
        for jobs in (await platform.get_jobs(run_ids)).values():
            assert [await platform.get_job(job.id) for job in jobs] == list(jobs)
        inner_is_free.set()
        assert [await output_of(platform, run_id) for run_id in run_ids] == list(range(20))
        main_job = (await platform.get_jobs(run_ids))[run_ids[0]][0]
        unknown = main_job.id[:-1] + "0123456789abcdef"[int(main_job.id[-1], 16) - 1]
        for job_id in ("", "x", run_ids[0], unknown, "\0", "\ud800", "x" * 100_000):
            with pytest.raises(NotFoundError):
                await platform.get_job(job_id)


@pytest.mark.needs("logs")
async def test_a_job_that_was_given_up_is_seen_with_all_its_lines_when_its_caller_has_ended(platform: Platform) -> None:
    """However short it was, what it logged is there no later than the end of the run, and it has failed."""

    @create_workflow_job(name="endless")
    async def endless(input: None, ctx: JobContext) -> None:
        ctx.log.info("begins")
        await asyncio.Event().wait()

    @create_workflow_job(name="hasty")
    async def hasty() -> str:
        try:
            async with asyncio.timeout(0.001):
                await endless.trigger(None)
        except TimeoutError:
            return "gave up"
        return "never"

    hurried = workflow_of(hasty)
    async with executing(platform, hurried):
        run_id = await hurried.trigger()
        assert await output_of(platform, run_id) == "gave up"
        given_up = (await jobs_of(platform, run_id))["hasty/endless"]
        assert given_up.status.value == "FAILED"
        assert [line.rpartition(" ")[2] for line in given_up.logs] == ["begins"]
