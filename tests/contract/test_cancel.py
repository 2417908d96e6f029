"""Canceling runs."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from gqlplugin.errors import FailedPreconditionError, JobFailedError, NotFoundError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform, uuid7
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, JobStatus, RetryPolicy
from gqlplugin.workflow import create_workflow
from tests.contract.support import (
    ALICE,
    app_of,
    echo_workflow,
    ended,
    executing,
    in_status,
    jobs_of,
    output_of,
    until,
    workflow_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.needs("cancel")]


class Stuck:
    """Jobs that wait until they are told to stop, and what they did by then."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cleaned: list[str] = []
        self.go_on = False

        @create_workflow_job(name="inner-job")
        async def inner(input: str, ctx: JobContext) -> str:
            ctx.log.info("inner begins")
            self.started.set()
            if self.go_on:
                return f"{input} is done"
            try:
                await asyncio.Event().wait()
            finally:
                self.cleaned.append("inner")
            return "never"

        @create_workflow_job(name="outer-job")
        async def outer(input: str) -> str:
            first = await before.trigger(input)
            try:
                return await inner.trigger(first)
            finally:
                self.cleaned.append("outer")

        @create_workflow_job(name="before-job")
        async def before(input: str) -> str:
            self.cleaned.append("before ran")
            return input

        self.workflow = workflow_of(outer, "get-stuck")


async def test_a_running_job_is_told_to_stop_and_may_clean_up(platform: Platform) -> None:
    """The jobs that run get CancelledError, the innermost first, and the run is CANCELED, without an error."""
    stuck = Stuck()
    async with executing(platform, stuck.workflow):
        run_id = await platform.start_workflow("get-stuck", '"x"', caller=ALICE)
        await stuck.started.wait()
        await platform.cancel(run_id)
        run = await ended(platform, run_id)
        assert run.status is ExecutionStatus.CANCELED
        assert run.error is None
        assert run.output is None
        assert run.finished_at is not None
        jobs = await jobs_of(platform, run_id)
    assert stuck.cleaned == ["before ran", "inner", "outer"]
    assert {name: job.status for name, job in jobs.items()} == {
        "outer-job": JobStatus.CANCELED,
        "outer-job/before-job": JobStatus.SUCCESS,
        "outer-job/inner-job": JobStatus.CANCELED,
    }


async def test_a_canceled_run_can_be_resumed(platform: Platform) -> None:
    """Resuming runs what was canceled again, and nothing that had succeeded."""
    stuck = Stuck()
    async with executing(platform, stuck.workflow):
        run_id = await platform.start_workflow("get-stuck", '"x"', caller=ALICE)
        await stuck.started.wait()
        await platform.cancel(run_id)
        await ended(platform, run_id)
        stuck.go_on = True
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == "x is done"
    assert stuck.cleaned == ["before ran", "inner", "outer", "outer"]


async def test_a_resumed_run_is_not_canceled_again_with_another(platform: Platform) -> None:
    """A cancel is for one try: after a resume, canceling another run leaves the resumed one alone."""
    stuck = Stuck()
    async with executing(platform, stuck.workflow):
        first, second = [await platform.start_workflow("get-stuck", '"x"', caller=ALICE) for _ in range(2)]
        await stuck.started.wait()
        await platform.cancel(first)
        await ended(platform, first)
        await platform.resume(first)
        await in_status(platform, first, ExecutionStatus.RUNNING)
        await platform.cancel(second)
        await ended(platform, second)
        assert not (await platform.get_execution(first)).status.is_final
        await platform.cancel(first)
        assert (await ended(platform, first)).status is ExecutionStatus.CANCELED


async def test_a_run_that_nobody_has_begun_ends_at_once(platform: Platform) -> None:
    """A queued run is CANCELED when the call returns, its job never runs, and it can be resumed."""
    async with platform:
        run_id = await platform.start_workflow("echo-it", "1", caller=ALICE)
        await platform.cancel(run_id)
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.CANCELED
        async with platform.execute(app_of(echo_workflow())):
            other = await platform.start_workflow("echo-it", "2", caller=ALICE)
            await ended(platform, other)
            assert (await platform.get_jobs([run_id]))[run_id] == []
            await platform.resume(run_id)
            assert await output_of(platform, run_id) == 1


async def test_a_run_that_waits_for_its_turn_never_begins(platform: Platform) -> None:
    """What a concurrency policy keeps waiting ends at once; the one that runs is left alone."""
    stuck = Stuck()
    assert stuck.workflow.main_job is not None
    limited = create_workflow(
        name="one-by-one", main_job=stuck.workflow.main_job, concurrency_policy=ConcurrencyPolicy(1)
    )
    async with executing(platform, limited):
        first = await platform.start_workflow("one-by-one", '"1"', caller=ALICE)
        await stuck.started.wait()
        second = await platform.start_workflow("one-by-one", '"2"', caller=ALICE)
        await platform.cancel(second)
        assert (await platform.get_execution(second)).status is ExecutionStatus.CANCELED
        assert not (await platform.get_execution(first)).status.is_final
        await platform.cancel(first)
        await ended(platform, first)
    assert "inner" in stuck.cleaned
    assert stuck.cleaned.count("before ran") == 1


@pytest.mark.needs("retry")
async def test_a_run_that_waits_for_a_retry_is_not_tried_again(platform: Platform) -> None:
    """PENDING_RETRY ends at once."""
    tries = 0

    @create_workflow_job(name="failing-job")
    async def failing() -> None:
        nonlocal tries
        tries += 1
        raise JobFailedError("no")

    retried = create_workflow(
        name="try-often", main_job=failing, retry_policy=RetryPolicy(3, initial_backoff=timedelta(minutes=5))
    )
    async with executing(platform, retried):
        run_id = await platform.start_workflow("try-often", "null", caller=ALICE)
        await in_status(platform, run_id, ExecutionStatus.PENDING_RETRY)
        await platform.cancel(run_id)
        run = await platform.get_execution(run_id)
        assert run.status is ExecutionStatus.CANCELED
    assert tries == 1


async def test_a_job_that_finishes_all_the_same_has_succeeded(platform: Platform) -> None:
    """Canceling is asking: a main job that returns has its result, and one that it would trigger is not begun."""
    started = asyncio.Event()
    swallowed: list[str] = []

    @create_workflow_job(name="stubborn-job")
    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append("once")
        return "done anyway"

    async with executing(platform, workflow_of(stubborn)):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await started.wait()
        await platform.cancel(run_id)
        assert await output_of(platform, run_id) == "done anyway"
    assert swallowed == ["once"]


async def test_a_run_that_is_being_canceled_triggers_nothing_more(platform: Platform) -> None:
    """A job whose inner job returned all the same is stopped at its next trigger."""
    started = asyncio.Event()
    ran: list[str] = []

    @create_workflow_job(name="stubborn-job")
    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ran.append("stubborn")

    @create_workflow_job(name="next-job")
    async def following() -> None:
        ran.append("next")

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await stubborn.trigger()
        await following.trigger()

    async with executing(platform, workflow_of(main)):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await started.wait()
        await platform.cancel(run_id)
        assert (await ended(platform, run_id)).status is ExecutionStatus.CANCELED
    assert ran == ["stubborn"]


async def test_a_plain_job_is_canceled_when_its_thread_has_ended(platform: Platform) -> None:
    """Its run goes on for as long as its thread works, so that a resume never has it run twice at once."""
    working: list[int] = []
    most: list[int] = []
    release = threading.Event()

    @create_workflow_job(name="plain-job")
    def plain(input: int) -> int:
        working.append(input)
        most.append(len(working))
        assert release.wait(60)
        working.remove(input)
        return input

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        return await plain.trigger(input)

    limited = create_workflow(name="one-by-one", main_job=main, concurrency_policy=ConcurrencyPolicy(1))
    async with executing(platform, limited):
        try:
            run_id = await platform.start_workflow("one-by-one", "1", caller=ALICE)
            await until(lambda: asyncio.sleep(0, working))
            other = await platform.start_workflow("one-by-one", "2", caller=ALICE)
            await platform.cancel(run_id)

            async def is_told() -> bool:
                return "CANCELED" in {job.status for job in (await platform.get_jobs([run_id]))[run_id]}

            await until(is_told)
            assert not (await platform.get_execution(run_id)).status.is_final
            with pytest.raises(FailedPreconditionError):
                await platform.resume(run_id)
        finally:
            release.set()
        run = await ended(platform, run_id)
        assert run.status is ExecutionStatus.CANCELED
        await platform.resume(run_id)
        assert [await output_of(platform, one) for one in (run_id, other)] == [1, 2]
    assert set(most) == {1}


async def test_what_has_ended_is_not_canceled(platform: Platform) -> None:
    """A run that has ended, or does not exist, is refused, and stays as it is."""
    async with executing(platform, echo_workflow()):
        run_id = await platform.start_workflow("echo-it", "1", caller=ALICE)
        await ended(platform, run_id)
        with pytest.raises(FailedPreconditionError, match="is SUCCESS"):
            await platform.cancel(run_id)
        with pytest.raises(NotFoundError):
            await platform.cancel(uuid7())
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.SUCCESS


async def test_jobs_under_gather_are_stopped_together(platform: Platform) -> None:
    """One runs and is stopped; those that wait for their turn never begin."""
    started = asyncio.Event()
    begun: list[int] = []

    @create_workflow_job(name="waiting-job")
    async def waiting(input: int) -> None:
        begun.append(input)
        started.set()
        await asyncio.Event().wait()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await asyncio.gather(*(waiting.trigger(number) for number in range(3)))

    async with executing(platform, workflow_of(main)):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await started.wait()
        await platform.cancel(run_id)
        assert (await ended(platform, run_id)).status is ExecutionStatus.CANCELED
    assert begun == [0]


async def test_canceling_right_after_the_start_never_leaves_a_run_going(new_platform: Callable[[], Platform]) -> None:
    """Whatever moment it comes at, a cancel that is accepted ends the run."""
    platform = new_platform()
    stuck = Stuck()
    async with executing(platform, stuck.workflow):
        for turns in range(40):
            run_id = await platform.start_workflow("get-stuck", '"x"', caller=ALICE)
            for _ in range(turns):
                await asyncio.sleep(0)
            await platform.cancel(run_id)
            run = await ended(platform, run_id)
            assert run.status is ExecutionStatus.CANCELED, turns
