"""Jobs that do not repeat the triggers that their run has recorded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionError, RetryPolicy
from gqlplugin.workflow import create_workflow
from tests.contract.support import ALICE, all_runs, app_of, echo_workflow, failed, output_of

pytestmark = pytest.mark.anyio

Body = Callable[[], Awaitable[Any]]

ran: list[str] = []


@create_workflow_job(name="first-job")
async def first(input: Any) -> Any:
    ran.append("first")
    return input


@create_workflow_job(name="second-job")
async def second(input: Any) -> Any:
    ran.append("second")
    return input


child = echo_workflow("child-workflow")
other_child = echo_workflow("other-child")
bodies: list[Body] = []


async def current() -> Any:
    return await bodies[0]()


@create_workflow_job(name="main-job")
async def main() -> Any:
    return await current()


@create_workflow_job(name="careless-job")
async def careless() -> Any:
    try:
        return await current()
    except RuntimeError:
        raise
    except Exception:
        return "caught"


workflows = [create_workflow(name=name, main_job=job) for name, job in (("plain", main), ("careless", careless))]
retried = create_workflow(name="retried", main_job=main, retry_policy=RetryPolicy(max_retries=3))


async def before() -> Any:
    await first.trigger({"a": 1})
    await child.trigger("x")
    await second.trigger(True)
    raise RuntimeError("the first try fails")


async def another_job() -> Any:
    await second.trigger({"a": 1})


async def other_arguments() -> Any:
    await first.trigger({"a": 2})


async def a_number_for_a_truth() -> Any:
    await first.trigger({"a": 1})
    await child.trigger("x")
    await second.trigger(1)


async def another_workflow() -> Any:
    await first.trigger({"a": 1})
    await other_child.trigger("x")


async def other_workflow_arguments() -> Any:
    await first.trigger({"a": 1})
    await child.trigger("y")


async def a_job_for_a_workflow() -> Any:
    await first.trigger({"a": 1})
    await second.trigger("x")


async def fewer() -> Any:
    await first.trigger({"a": 1})
    return "done"


async def none_at_all() -> Any:
    return "done"


CHANGES: dict[str, tuple[Body, list[str]]] = {
    "another job": (another_job, ["first-job", "second-job"]),
    "other arguments": (other_arguments, ["first-job", "arguments"]),
    "a number for a truth value": (a_number_for_a_truth, ["second-job", "arguments"]),
    "another workflow": (another_workflow, ["child-workflow", "other-child"]),
    "other arguments of a workflow": (other_workflow_arguments, ["child-workflow", "arguments"]),
    "a job for a workflow": (a_job_for_a_workflow, ["child-workflow", "second-job"]),
    "fewer": (fewer, ["child-workflow", "no longer"]),
    "none at all": (none_at_all, ["first-job", "no longer"]),
}


async def resumed_after(platform: Platform, name: str, change: Body) -> ExecutionError:
    """The error of a run whose body has changed between its failure and its resume."""
    bodies[:] = [before]
    run_id = await platform.start_workflow(name, "null", caller=ALICE)
    await failed(platform, run_id)
    bodies[:] = [change]
    ran.clear()
    count = len(await all_runs(platform))
    await platform.resume(run_id)
    error = (await failed(platform, run_id)).error
    assert error is not None
    assert len(await all_runs(platform)) == count
    return error


@pytest.mark.needs("errors")
@pytest.mark.parametrize("name", ["plain", "careless"])
@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
async def test_a_job_that_changed_fails_its_run_and_says_what(
    platform: Platform, name: str, change: Body, words: list[str]
) -> None:
    """A job that makes other triggers than recorded fails its run with REPLAY_MISMATCH, naming them; nothing new runs.

    So it does when the job catches every exception.
    """
    async with platform, platform.execute(app_of(*workflows, child, other_child, jobs=[first, second])):
        error = await resumed_after(platform, name, change)
        assert error.code == "REPLAY_MISMATCH"
        for word in words:
            assert word in error.message
    assert ran == []


async def test_a_mended_job_can_be_resumed_after_a_mismatch(platform: Platform) -> None:
    """A mismatch costs nothing that was recorded: with the job as it was, the next resume succeeds."""

    async def mended() -> str:
        await first.trigger({"a": 1})
        await child.trigger("x")
        await second.trigger(True)
        return "done"

    async with platform, platform.execute(app_of(*workflows, child, other_child, jobs=[first, second])):
        bodies[:] = [before]
        run_id = await workflows[0].trigger()
        await failed(platform, run_id)
        for change in (another_job, none_at_all):
            bodies[:] = [change]
            await platform.resume(run_id)
            await failed(platform, run_id)
        bodies[:] = [mended]
        ran.clear()
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == "done"
    assert ran == []


async def test_more_triggers_after_the_recorded_ones_are_fine(platform: Platform) -> None:
    """A job may go on further than it had come: what is recorded answers, the rest runs."""

    async def further() -> str:
        await first.trigger({"a": 1})
        await child.trigger("x")
        await second.trigger(True)
        return str(await second.trigger("new"))

    async with platform, platform.execute(app_of(*workflows, child, other_child, jobs=[first, second])):
        bodies[:] = [before]
        run_id = await workflows[0].trigger()
        await failed(platform, run_id)
        bodies[:] = [further]
        ran.clear()
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == "new"
    assert ran == ["second"]


@pytest.mark.needs("errors")
@pytest.mark.needs("retry")
async def test_a_mismatch_is_not_retried(platform: Platform) -> None:
    """Under a retry policy a mismatch fails the run at once: another try of the same code can't end otherwise."""
    async with platform, platform.execute(app_of(retried, child, other_child, jobs=[first, second])):
        bodies[:] = [before]
        run_id = await retried.trigger()
        async with asyncio.timeout(60):
            async for run in platform.watch(run_id):
                if run.attempt:
                    bodies[:] = [none_at_all]
        assert run.error is not None
        assert run.error.code == "REPLAY_MISMATCH"
        assert run.attempt == 1
