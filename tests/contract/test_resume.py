"""Resuming a failed run: the same ID, its finished jobs from the record, its failures again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import pytest

from gqlplugin.errors import FailedPreconditionError, JobFailedError, NotFoundError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus
from tests.contract.support import (
    ALICE,
    all_runs,
    app_of,
    echo_workflow,
    ended,
    executing,
    failed,
    in_status,
    jobs_of,
    output_of,
    workflow_of,
)

pytestmark = pytest.mark.anyio


@pytest.mark.needs("callers")
async def test_finished_jobs_answer_from_the_record_and_failed_ones_run_again(platform: Platform) -> None:
    """A resumed run keeps its ID and what has succeeded, at every depth, and runs the rest."""
    ran: Counter[str] = Counter()

    @create_workflow_job(name="good-job")
    async def good(input: str) -> str:
        ran[input] += 1
        return input

    @create_workflow_job(name="weak-job")
    async def weak(input: str) -> str:
        ran[input] += 1
        if ran[input] < 3:
            raise RuntimeError
        return input

    @create_workflow_job(name="middle")
    async def middle() -> list[str]:
        ran["middle"] += 1
        return [await good.trigger("inner"), await weak.trigger("weak"), await good.trigger("after")]

    @create_workflow_job(name="main-job")
    async def main() -> list[list[str]]:
        ran["main"] += 1
        return [[await good.trigger("first")], await middle.trigger(), [await good.trigger("last")]]

    resumed = workflow_of(main)
    async with executing(platform, resumed):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        first = await failed(platform, run_id)
        for _ in range(2):
            await failed(platform, run_id)
            await platform.resume(run_id)
        assert await output_of(platform, run_id) == [["first"], ["inner", "weak", "after"], ["last"]]
        run = await platform.get_execution(run_id)
        jobs = await jobs_of(platform, run_id)
        assert len(await all_runs(platform)) == 1
    assert ran == {"main": 3, "first": 1, "middle": 3, "inner": 1, "weak": 3, "after": 1, "last": 1}
    assert (run.id, run.caller, run.created_at, run.error) == (run_id, ALICE, first.created_at, None)
    assert {job.status.value for job in jobs.values()} == {"SUCCESS"}


async def test_a_failure_that_was_handled_stays_handled(platform: Platform) -> None:
    """A caught failure is part of the way that a run took: a resume does not try that job again."""
    ran: Counter[str] = Counter()

    @create_workflow_job(name="weak-job")
    async def weak() -> None:
        ran["weak"] += 1
        if ran["weak"] == 1:
            raise JobFailedError("No.", code="DECLINED")

    @create_workflow_job(name="other-way")
    async def other() -> str:
        ran["other"] += 1
        return "another way"

    @create_workflow_job(name="breaks-once")
    async def breaks() -> None:
        ran["breaks"] += 1
        if ran["breaks"] == 1:
            raise RuntimeError

    @create_workflow_job(name="main-job")
    async def main() -> str:
        try:
            await weak.trigger()
        except JobFailedError as error:
            way = f"{error.job_code}: {await other.trigger()}"
        else:
            way = "the first way"
        await breaks.trigger()
        return way

    careful = workflow_of(main)
    async with executing(platform, careful):
        run_id = await careful.trigger()
        await failed(platform, run_id)
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == "DECLINED: another way"
    assert ran == {"weak": 1, "other": 1, "breaks": 2}


async def gathered(calls: Iterable[Coroutine[Any, Any, int]]) -> list[int]:
    return await asyncio.gather(*calls)


async def grouped(calls: Iterable[Coroutine[Any, Any, int]]) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


@pytest.mark.parametrize("together", [gathered, grouped])
async def test_a_failure_of_one_of_several_can_be_resumed(
    platform: Platform, together: Callable[[Iterable[Coroutine[Any, Any, int]]], Awaitable[list[int]]]
) -> None:
    """When one of several jobs triggered at once fails the run, a resume tries it again, and keeps what succeeded."""
    ran: Counter[int] = Counter()

    @create_workflow_job(name="part-job")
    async def part(input: int) -> int:
        ran[input] += 1
        if input == 1 and ran[1] == 1:
            raise RuntimeError
        return input

    @create_workflow_job(name="main-job")
    async def main() -> list[int]:
        return await together(part.trigger(number) for number in range(4))

    several = workflow_of(main)
    async with executing(platform, several):
        run_id = await several.trigger()
        await failed(platform, run_id)
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == [0, 1, 2, 3]
    assert ran == {0: 1, 1: 2, 2: 1, 3: 1}


async def test_gathered_failures_can_be_handled(platform: Platform) -> None:
    """With `return_exceptions=True` all gathered jobs run, whichever fail, and the run goes on."""

    @create_workflow_job(name="part-job")
    async def part(input: int) -> int:
        if input % 2:
            raise JobFailedError("odd")
        return input

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        parts = await asyncio.gather(*(part.trigger(number) for number in range(5)), return_exceptions=True)
        return [str(one) for one in parts]

    gathering = workflow_of(main)
    async with executing(platform, gathering):
        assert await output_of(platform, await gathering.trigger()) == ["0", "odd", "2", "odd", "4"]


async def test_only_failed_runs_are_resumed(platform: Platform) -> None:
    """PENDING, RUNNING, SUCCESS and unknown runs are refused, and none of them is changed by it."""
    release = asyncio.Event()
    echo = echo_workflow()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await release.wait()

    waiting = workflow_of(main)
    async with platform:
        run_id = await waiting.trigger()
        with pytest.raises(FailedPreconditionError, match="PENDING"):
            await platform.resume(run_id)
        async with platform.execute(app_of(waiting, echo)):
            await in_status(platform, run_id, ExecutionStatus.RUNNING)
            with pytest.raises(FailedPreconditionError, match="RUNNING"):
                await platform.resume(run_id)
            release.set()
            await output_of(platform, run_id)
            with pytest.raises(FailedPreconditionError, match="SUCCESS"):
                await platform.resume(run_id)
            assert (await platform.get_execution(run_id)).status is ExecutionStatus.SUCCESS
            with pytest.raises(NotFoundError):
                await platform.resume("00000000-0000-7000-8000-000000000000")


async def test_one_of_many_resumes_at_once_wins(platform: Platform) -> None:
    """Ten resumes of one failed run at once: one is taken, nine are refused, the run runs once more."""
    ran: list[int] = []
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise RuntimeError
        await release.wait()

    failing = workflow_of(main)
    async with executing(platform, failing):
        run_id = await failing.trigger()
        await failed(platform, run_id)
        answers = await asyncio.gather(*(platform.resume(run_id) for _ in range(10)), return_exceptions=True)
        release.set()
        await output_of(platform, run_id)
    assert len([answer for answer in answers if answer is None]) == 1
    assert all(isinstance(answer, FailedPreconditionError) for answer in answers if answer is not None)
    assert len(ran) == 2


async def test_a_resumed_run_is_out_of_failed_before_the_answer(platform: Platform) -> None:
    """Once `resume` has answered, nobody sees the run as FAILED from the earlier try, nor its error."""
    release = asyncio.Event()
    ran: list[int] = []

    @create_workflow_job(name="main-job")
    async def main() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise RuntimeError
        await release.wait()

    failing = workflow_of(main)
    async with executing(platform, failing):
        run_id = await failing.trigger()
        await failed(platform, run_id)
        await platform.resume(run_id)
        run = await platform.get_execution(run_id)
        assert run.status in (ExecutionStatus.PENDING_RESUME, ExecutionStatus.RUNNING)
        assert (run.error, run.finished_at) == (None, None)
        release.set()
        assert (await ended(platform, run_id)).status is ExecutionStatus.SUCCESS


async def test_a_run_can_be_resumed_by_a_platform_that_does_not_execute(platform: Platform) -> None:
    """A resume needs no executing process: the run is PENDING_RESUME until there is one."""
    ran: list[int] = []

    @create_workflow_job(name="main-job")
    async def main() -> int:
        ran.append(1)
        if len(ran) == 1:
            raise RuntimeError
        return len(ran)

    failing = workflow_of(main)
    async with platform:
        async with platform.execute(app_of(failing)):
            run_id = await failing.trigger()
            await failed(platform, run_id)
        await platform.resume(run_id)
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.PENDING_RESUME
        async with platform.execute(app_of(failing)):
            assert await output_of(platform, run_id) == 2
