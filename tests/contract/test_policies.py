"""Retry and concurrency policies (TAILOR.md section 5)."""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

import pytest

from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, RetryPolicy
from gqlplugin.workflow import create_workflow, trigger_workflow
from tests.contract.support import (
    all_runs,
    echo_workflow,
    ended,
    executing,
    failed,
    in_status,
    output_of,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.mark.needs("attempts")
@pytest.mark.needs("retry")
async def test_a_failed_run_is_tried_again_after_a_growing_wait(platform: Platform) -> None:
    """Between tries a run is PENDING_RETRY; finished jobs stay; the wait grows by the multiplier up to the longest."""
    tries: list[float] = []
    ran: list[int] = []

    @create_workflow_job(name="once-job")
    async def once() -> None:
        ran.append(1)

    @create_workflow_job(name="main-job")
    async def main() -> int:
        tries.append(time.monotonic())
        await once.trigger()
        if len(tries) < 4:
            raise RuntimeError
        return len(tries)

    policy = RetryPolicy(
        max_retries=5,
        initial_backoff=timedelta(seconds=0.1),
        max_backoff=timedelta(seconds=0.3),
        backoff_multiplier=2,
    )
    stubborn = create_workflow(name="stubborn", main_job=main, retry_policy=policy)
    async with executing(platform, stubborn):
        run_id = await stubborn.trigger()
        waiting = await in_status(platform, run_id, ExecutionStatus.PENDING_RETRY)
        assert waiting.finished_at is None
        assert waiting.attempt >= 1
        assert await output_of(platform, run_id) == 4
        run = await platform.get_execution(run_id)
    assert (run.attempt, run.error) == (3, None)
    assert ran == [1]
    waits = [later - earlier for earlier, later in pairwise(tries)]
    for wait, least in zip(waits, (0.1, 0.2, 0.3), strict=True):
        assert least <= wait


@pytest.mark.needs("attempts")
@pytest.mark.needs("retry")
async def test_exhausted_retries_fail_the_run_which_can_be_resumed(platform: Platform) -> None:
    """After the last retry the run is FAILED; a resume gives it all its tries again, under the same ID."""
    tries: list[int] = []

    @create_workflow_job(name="main-job")
    async def main() -> int:
        tries.append(1)
        if len(tries) < 6:
            raise RuntimeError
        return len(tries)

    policy = RetryPolicy(max_retries=2, initial_backoff=timedelta(milliseconds=1))
    stubborn = create_workflow(name="stubborn", main_job=main, retry_policy=policy)
    async with executing(platform, stubborn):
        run_id = await stubborn.trigger()
        run = await failed(platform, run_id)
        assert len(tries) == 3
        assert run.attempt == 2
        assert run.error is not None
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == 6


@pytest.mark.needs("retry")
async def test_a_run_that_can_never_succeed_is_not_retried(platform: Platform) -> None:
    """A wrong definition fails the run at once: another try can't end otherwise."""

    @create_workflow_job(name="hidden-job")
    async def hidden() -> None:
        return None

    hiding = {"job": [hidden]}

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await hiding["job"][0].trigger()

    policy = RetryPolicy(max_retries=3, initial_backoff=timedelta(hours=1), max_backoff=timedelta(hours=1))
    wrong = create_workflow(name="wrong", main_job=main, retry_policy=policy)
    async with executing(platform, wrong):
        run = await failed(platform, await wrong.trigger())
    assert run.attempt == 0


@pytest.mark.needs("retry")
async def test_waiting_runs_hold_nothing_up(platform: Platform) -> None:
    """A run that backs off takes no turn from others, under a concurrency policy of one too."""
    tries: list[str] = []

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        tries.append(input)
        if input == "bad":
            raise RuntimeError
        return input

    patient = create_workflow(
        name="patient",
        main_job=main,
        retry_policy=RetryPolicy(max_retries=1, initial_backoff=timedelta(hours=1), max_backoff=timedelta(hours=1)),
        concurrency_policy=ConcurrencyPolicy(1),
    )
    async with executing(platform, patient):
        bad = await patient.trigger("bad")
        await in_status(platform, bad, ExecutionStatus.PENDING_RETRY)
        assert await output_of(platform, await patient.trigger("good")) == "good"
        assert (await platform.get_execution(bad)).status is ExecutionStatus.PENDING_RETRY
        assert tries == ["bad", "good"]


@pytest.mark.needs("concurrency")
@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_runs_than_the_policy_allows_execute_at_once(platform: Platform, most: int) -> None:
    """What exceeds a concurrency policy stays PENDING, is never refused, and all of it ends."""
    now, peak = 0, 0
    is_full = asyncio.Event()

    @create_workflow_job(name="part-job")
    async def part() -> None:
        await asyncio.sleep(0)

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        if now == most:
            is_full.set()
        await is_full.wait()
        await part.trigger()
        now -= 1
        return input

    narrow = create_workflow(name="narrow", main_job=main, concurrency_policy=ConcurrencyPolicy(most))
    async with executing(platform, narrow):
        run_ids = await asyncio.gather(*(narrow.trigger(number) for number in range(30)))
        assert [await output_of(platform, run_id) for run_id in run_ids] == list(range(30))
    assert peak == most


@pytest.mark.needs("concurrency")
async def test_excess_runs_are_pending_and_hold_up_no_other_workflow(platform: Platform) -> None:
    """While a workflow is full its next run is PENDING, and other workflows run."""
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await release.wait()

    narrow = create_workflow(name="narrow", main_job=main, concurrency_policy=ConcurrencyPolicy(1))
    echo = echo_workflow()
    async with executing(platform, narrow, echo):
        first = await narrow.trigger()
        await in_status(platform, first, ExecutionStatus.RUNNING)
        others = [await narrow.trigger() for _ in range(5)]
        assert await output_of(platform, await echo.trigger("free")) == "free"
        statuses = {(await platform.get_execution(run_id)).status for run_id in others}
        assert statuses == {ExecutionStatus.PENDING}
        release.set()
        for run_id in others:
            assert (await ended(platform, run_id)).status is ExecutionStatus.SUCCESS


@pytest.mark.needs("concurrency", "turns")
async def test_excess_runs_execute_oldest_first(platform: Platform) -> None:
    """Runs that wait for their turn get it in the order they were started, a resumed one at its end."""
    order: list[int] = []
    failures = {0}

    @create_workflow_job(name="main-job")
    async def main(input: int) -> None:
        order.append(input)
        if input in failures:
            failures.discard(input)
            raise RuntimeError

    narrow = create_workflow(name="narrow", main_job=main, concurrency_policy=ConcurrencyPolicy(1))
    async with executing(platform, narrow):
        run_ids = [await narrow.trigger(number) for number in range(20)]

        async def finished() -> bool:
            return all(run.status.is_final for run in await all_runs(platform))

        await until(finished)
        await platform.resume(run_ids[0])
        assert (await ended(platform, run_ids[0])).status is ExecutionStatus.SUCCESS
    assert order == [*range(20), 0]


@pytest.mark.needs("concurrency")
async def test_a_parent_may_wait_for_nothing_it_holds_up(platform: Platform) -> None:
    """A workflow of one at a time that starts itself gets its turn once the parent has ended."""

    @create_workflow_job(name="main-job")
    async def main(input: int) -> str | None:
        return await trigger_workflow("narrow", input - 1) if input else None

    narrow = create_workflow(name="narrow", main_job=main, concurrency_policy=ConcurrencyPolicy(1))
    async with executing(platform, narrow):
        run_id: str | None = await narrow.trigger(5)
        count = 0
        while run_id is not None:
            run_id = await output_of(platform, run_id)
            count += 1
    assert count == 6
