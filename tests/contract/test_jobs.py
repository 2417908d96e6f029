"""Jobs that trigger jobs: their order, their names, and where they run."""

import asyncio
import threading
from collections.abc import Awaitable
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

import pytest

from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus, JobStatus
from tests.contract.support import (
    all_runs,
    app_of,
    executing,
    failed,
    jobs_of,
    output_of,
    workflow_of,
)

pytestmark = pytest.mark.anyio


@pytest.mark.needs("inputs")
async def test_jobs_are_kept_in_the_order_they_were_triggered(platform: Platform) -> None:
    """A run lists its jobs by stacked name, callers before those they triggered, the twelfth after the eleventh."""

    @create_workflow_job(name="leaf-job")
    async def leaf(input: int) -> int:
        return input

    @create_workflow_job(name="branch-job")
    async def branch(input: int) -> int:
        return await leaf.trigger(input) + await leaf.trigger(input)

    @create_workflow_job(name="root-job")
    async def root() -> list[int]:
        return [await branch.trigger(number) for number in range(12)]

    tree = workflow_of(root)
    async with executing(platform, tree):
        run_id = await tree.trigger()
        assert await output_of(platform, run_id) == [2 * number for number in range(12)]
        jobs = (await platform.get_jobs([run_id]))[run_id]
    expected = ["root-job"]
    for _ in range(12):
        expected += ["root-job/branch-job"] + ["root-job/branch-job/leaf-job"] * 2
    assert [job.stacked_name for job in jobs] == expected
    assert [job.name for job in jobs] == [name.rpartition("/")[2] for name in expected]
    assert {job.status for job in jobs} == {JobStatus.SUCCESS}
    assert [job.input for job in jobs if job.name == "branch-job"] == [str(number) for number in range(12)]
    assert len({job.id for job in jobs}) == len(jobs)
    assert all(job.run_id == run_id and job.finished_at and job.started_at <= job.finished_at for job in jobs)


async def test_jobs_nest_to_any_depth(platform: Platform) -> None:
    """A job triggers a job that triggers a job, a hundred deep."""

    @create_workflow_job(name="deeper")
    async def deeper(input: int) -> int:
        return 1 + await deeper.trigger(input - 1) if input else 0

    deep = workflow_of(deeper)
    async with executing(platform, deep):
        run_id = await deep.trigger(100)
        assert await output_of(platform, run_id) == 100
        jobs = await jobs_of(platform, run_id)
    assert len(jobs) == 101
    assert "/".join(["deeper"] * 101) in jobs


async def test_recursion_without_an_end_fails_the_run(platform: Platform) -> None:
    """A job that triggers itself for ever ends as a failed run, not as a dead process."""

    @create_workflow_job(name="endless")
    async def endless(input: int) -> int:
        return await endless.trigger(input + 1)

    forever = workflow_of(endless)
    async with executing(platform, forever):
        assert (await failed(platform, await forever.trigger(0))).error is not None


@pytest.mark.needs("inputs")
async def test_gathered_triggers_run_one_after_another_in_call_order(platform: Platform) -> None:
    """Under `asyncio.gather` a job's triggers run strictly one after another, and answer each caller with its own."""
    events: list[str] = []

    @create_workflow_job(name="slow-job")
    async def slow(input: int) -> int:
        events.append(f"begin {input}")
        await asyncio.sleep(0.01 / (input + 1))
        events.append(f"end {input}")
        return input

    @create_workflow_job(name="gathering")
    async def gathering() -> list[int]:
        return await asyncio.gather(*(slow.trigger(number) for number in range(6)))

    gathered = workflow_of(gathering)
    async with executing(platform, gathered):
        run_id = await gathered.trigger()
        assert await output_of(platform, run_id) == list(range(6))
        jobs = (await platform.get_jobs([run_id]))[run_id]
    assert events == [f"{what} {number}" for number in range(6) for what in ("begin", "end")]
    assert [job.input for job in jobs[1:]] == [str(number) for number in range(6)]


async def test_a_trigger_in_a_task_left_behind_is_refused(platform: Platform) -> None:
    """A task that outlives the job which made it can't trigger anything in that job's name."""
    problems: list[BaseException] = []
    tried = asyncio.Event()

    @create_workflow_job(name="late-job")
    async def late() -> None:
        return None

    async def trigger_late(release: asyncio.Event) -> None:
        await release.wait()
        try:
            await late.trigger()
        except Exception as error:
            problems.append(error)
        tried.set()

    release = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    @create_workflow_job(name="careless")
    async def careless() -> None:
        tasks.append(asyncio.create_task(trigger_late(release)))

    loose = workflow_of(careless)
    app = app_of(loose, jobs=[late])
    async with platform, platform.execute(app):
        run_id = await loose.trigger()
        await output_of(platform, run_id)
        release.set()
        async with asyncio.timeout(60):
            await tried.wait()
        assert list(await jobs_of(platform, run_id)) == ["careless"]
    assert "careless" in str(problems[0])


request_id: ContextVar[str] = ContextVar("request_id", default="none")


async def test_plain_functions_run_in_threads(platform: Platform) -> None:
    """A plain function runs beside the event loop, with its `JobContext`: logs and progress work from there."""
    loop_thread = threading.get_ident()

    @create_workflow_job(name="plain-job")
    def plain(input: int, ctx: JobContext) -> list[Any]:
        for step in range(1, 4):
            threading.Event().wait(0.06)  # longer than a platform may take to notice what came before
            ctx.log.info("step %d", step)
            ctx.progress(step / 4)
        return [threading.get_ident() != loop_thread, ctx.run_id, input]

    @create_workflow_job(name="calls-plain")
    async def calls_plain(input: int) -> list[Any]:
        return await plain.trigger(input)

    threaded = workflow_of(calls_plain)
    async with executing(platform, threaded):
        run_id = await threaded.trigger(7)
        assert await output_of(platform, run_id) == [True, run_id, 7]


async def test_a_plain_function_does_not_block_the_loop(platform: Platform) -> None:
    """While a plain job blocks its thread, the event loop goes on: here it is what ends the job."""
    release = threading.Event()
    began = threading.Event()

    @create_workflow_job(name="blocking")
    def blocking() -> bool:
        began.set()
        return release.wait(60)

    blocked = workflow_of(blocking)
    async with executing(platform, blocked):
        run_id = await blocked.trigger()
        await asyncio.to_thread(began.wait, 60)
        release.set()
        assert await output_of(platform, run_id) is True


@pytest.mark.needs("errors")
async def test_a_plain_function_can_not_trigger(platform: Platform) -> None:
    """`trigger` in a plain function is refused with an error that says how to write it."""

    @create_workflow_job(name="inner-job")
    async def inner() -> int:
        return 1

    @create_workflow_job(name="plain-outer")
    def outer() -> Any:
        return inner.trigger()

    plain = workflow_of(outer)
    async with executing(platform, plain):
        run_id = await plain.trigger()
        error = (await failed(platform, run_id)).error
        assert list(await jobs_of(platform, run_id)) == ["plain-outer"]
    assert error is not None
    assert error.code == "FAILED_PRECONDITION"
    assert "inner-job" in error.message
    assert "async def" in error.message


async def test_context_variables_of_one_run_do_not_reach_another(platform: Platform) -> None:
    """A run starts from the context of the platform, not from that of the request that started it."""

    @create_workflow_job(name="reads-context")
    async def reads_context() -> str:
        before = request_id.get()
        request_id.set("a run's")
        return before

    reading = workflow_of(reads_context)
    async with executing(platform, reading):
        request_id.set("a request's")
        run_ids = [await reading.trigger() for _ in range(3)]
        assert [await output_of(platform, run_id) for run_id in run_ids] == ["none"] * 3


async def test_jobs_with_every_parameter_list_work(platform: Platform) -> None:
    """`()`, `(input)` and `(input, ctx)` are all jobs."""

    @create_workflow_job(name="no-input")
    async def nothing() -> str:
        return "nothing"

    @create_workflow_job(name="only-input")
    async def only(input: str) -> str:
        return input

    @create_workflow_job(name="with-context")
    async def with_context(input: str, ctx: JobContext) -> list[str]:
        return [await nothing.trigger(), await only.trigger(input), ctx.workflow_name]

    workflow = workflow_of(with_context)
    async with executing(platform, workflow):
        assert await output_of(platform, await workflow.trigger("x")) == ["nothing", "x", "the-workflow"]


@pytest.mark.needs("errors")
def traced(function: Any) -> Any:
    """A decorator that is written for plain functions."""

    @wraps(function)
    def call(*args: object, **named: object) -> Any:
        return function(*args, **named)

    return call


class Doubling:
    """An object with an async `__call__`, and an async method."""

    async def __call__(self, n: int) -> int:
        return 2 * n

    async def method(self, n: int, ctx: JobContext) -> int:
        ctx.log.info("in a method")
        return 2 * n


async def test_every_kind_of_function_can_be_a_job(platform: Platform) -> None:
    """Behind a plain decorator, as a partial, an object, a method; what they return is awaited."""
    make: Any = create_workflow_job

    async def multiply(factor: int, n: int) -> int:
        return factor * n

    async def named(n: int, *, factor: int) -> int:
        return factor * n

    def later(n: int) -> Awaitable[int]:
        return multiply(2, n)

    functions = [
        traced(Doubling().method),
        later,
        partial(multiply, 2),
        partial(named, factor=2),
        partial(Doubling()),
        Doubling(),
        Doubling().method,
    ]
    jobs = [make(name=f"job-{index}")(function) for index, function in enumerate(functions)]

    async def main(ctx: JobContext) -> list[int]:
        ctx.log.info("alone with its context")
        return [await job.trigger(n) for n, job in enumerate(jobs)]

    workflow = workflow_of(make(name="main-job")(traced(main)))
    async with platform, platform.execute(app_of(workflow, jobs=jobs)):
        run_id = await workflow.trigger()
        assert await output_of(platform, run_id) == [2 * n for n in range(len(jobs))]


@pytest.mark.needs("errors")
async def test_an_unregistered_job_fails_the_run_by_name(platform: Platform) -> None:
    """A job that is triggered but unknown to the app fails the run with the code of a wrong definition."""

    @create_workflow_job(name="hidden-job")
    async def hidden() -> int:
        return 1

    hiding = {"job": [hidden]}

    @create_workflow_job(name="seeker")
    async def seeker() -> int:
        return await hiding["job"][0].trigger()

    seeking = workflow_of(seeker)
    async with executing(platform, seeking):
        error = (await failed(platform, await seeking.trigger())).error
    assert error is not None
    assert error.code == "INVALID_DEFINITION"
    assert "hidden-job" in error.message


@pytest.mark.needs("inputs")
async def test_a_hundred_runs_at_once_do_not_mix(platform: Platform) -> None:
    """Runs that execute at the same time keep their inputs, jobs and results apart."""

    @create_workflow_job(name="double")
    async def double(input: int) -> int:
        await asyncio.sleep(0)
        return input * 2

    @create_workflow_job(name="twice")
    async def twice(input: int) -> int:
        return await double.trigger(await double.trigger(input))

    doubling = workflow_of(twice)
    async with executing(platform, doubling):
        run_ids = await asyncio.gather(*(doubling.trigger(number) for number in range(100)))
        assert [await output_of(platform, run_id) for run_id in run_ids] == [number * 4 for number in range(100)]
        jobs = await platform.get_jobs(run_ids)
        assert [jobs[run_id][2].input for run_id in run_ids] == [str(number * 2) for number in range(100)]
        assert {run.status for run in await all_runs(platform)} == {ExecutionStatus.SUCCESS}
