"""Starting several runs at once."""

import pytest

from gqlplugin.errors import ForbiddenError, InvalidInputError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.workflow import create_workflow
from tests.contract.support import ALICE, all_runs, echo_workflow, executing, output_of, workflow_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("batches")]


@create_workflow_job(name="double")
async def double(input: int) -> int:
    return input * 2


doubling = create_workflow(name="doubling", main_job=double)


async def test_every_argument_gets_a_run_in_order(platform: Platform) -> None:
    """The IDs are in the order of the arguments, and each run has its own."""
    async with executing(platform, doubling):
        run_ids = await doubling.trigger_many(range(20))
        assert [await output_of(platform, run_id) for run_id in run_ids] == [2 * number for number in range(20)]
        assert await doubling.trigger_many([]) == []


async def test_one_bad_argument_starts_nothing(platform: Platform) -> None:
    """All or nothing: what doesn't fit, is too many or too large is refused before anything starts."""
    async with executing(platform, doubling):
        with pytest.raises(InvalidInputError):
            await doubling.trigger_many([1, "two"])  # type: ignore[list-item]
        with pytest.raises(InvalidInputError, match="At most 1000"):
            await doubling.trigger_many(range(1001))
        with pytest.raises(InvalidInputError):
            await platform.start_workflows("doubling", ["1", "not JSON"], caller=ALICE)
        assert await all_runs(platform) == []


async def test_permission_is_asked_for_the_batch(platform: Platform) -> None:
    """Who may not start one may not start many."""
    closed = create_workflow(name="closed", main_job=double, permission=lambda user, invoker: False)
    async with executing(platform, closed):
        with pytest.raises(ForbiddenError):
            await closed.trigger_many([1])
        assert await all_runs(platform) == []


async def test_a_job_starts_a_batch_once(platform: Platform) -> None:
    """When the job runs again, it gets the same IDs and starts nothing."""
    tries = 0
    echo = echo_workflow()

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        nonlocal tries
        run_ids = await echo.trigger_many([1, 2, 3])
        tries += 1
        if tries == 1:
            raise RuntimeError
        return run_ids

    async with executing(platform, workflow_of(main), echo):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        async for run in platform.watch(run_id):
            status = run.status
        assert status == "FAILED"
        await platform.resume(run_id)
        run_ids = await output_of(platform, run_id)
        assert [await output_of(platform, one) for one in run_ids] == [1, 2, 3]
        assert len(await all_runs(platform)) == 4
