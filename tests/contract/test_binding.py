"""Which platform a trigger goes to."""

import asyncio
from collections.abc import Callable

import pytest

from gqlplugin.errors import (
    DefinitionError,
    FailedPreconditionError,
    NotFoundError,
    PlatformNotBoundError,
    UnsupportedError,
)
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus
from gqlplugin.workflow import trigger_workflow
from tests.contract.support import (
    ALICE,
    EVERYTHING,
    all_runs,
    app_of,
    echo_workflow,
    executing,
    in_status,
    output_of,
)

pytestmark = pytest.mark.anyio


async def test_a_platform_that_is_not_open_says_so(platform: Platform) -> None:
    """Every method outside `async with platform:` is refused with an error that says what to do, before and after."""

    async def refused() -> None:
        with pytest.raises(FailedPreconditionError, match="async with"):
            await platform.start_workflow("echo-it", "1", caller=ALICE)
        with pytest.raises(FailedPreconditionError, match="async with"):
            await platform.get_execution("x")
        with pytest.raises(FailedPreconditionError, match="async with"):
            await platform.get_jobs(["x"])
        with pytest.raises(FailedPreconditionError, match="async with"):
            await platform.get_job("x")
        with pytest.raises(FailedPreconditionError, match="async with"):
            await platform.list_executions(EVERYTHING, first=1)
        with pytest.raises(FailedPreconditionError, match="async with"):
            await platform.resume("x")
        with pytest.raises(FailedPreconditionError, match="async with"):
            await anext(platform.watch("x"))
        with pytest.raises(FailedPreconditionError, match="async with"):
            async with platform.execute(app_of()):
                pass

    await refused()
    async with platform:
        pass
    await refused()


async def test_without_a_platform_a_trigger_says_how_to_bind_one(platform: Platform) -> None:
    """With no platform bound, before, outside and after, a trigger is refused and says what to do."""
    echo = echo_workflow()
    for _ in range(2):
        with pytest.raises(PlatformNotBoundError, match="async with platform"):
            await echo.trigger(1)
        with pytest.raises(PlatformNotBoundError):
            await trigger_workflow("echo-it", 1)
        async with executing(platform, echo):
            pass


async def test_by_name_an_app_must_be_bound(platform: Platform) -> None:
    """`trigger_workflow` finds names in the app that is bound; a platform alone has none."""
    async with platform:
        with pytest.raises(UnsupportedError):
            await trigger_workflow("echo-it", 1)
        async with platform.execute(app_of(echo_workflow())):
            assert await output_of(platform, await trigger_workflow("echo-it", '{"a": 1}')) == {"a": 1}
            with pytest.raises(NotFoundError):
                await trigger_workflow("no-such", 1)


async def test_a_workflow_of_another_app_is_refused(platform: Platform) -> None:
    """A workflow that the bound app does not have is a mistake in the definitions, and nothing is started."""
    async with executing(platform, echo_workflow()):
        with pytest.raises(DefinitionError, match="echo-it"):
            await echo_workflow().trigger(1)
        assert await all_runs(platform) == []


async def test_two_platforms_in_one_process_are_independent(new_platform: Callable[[], Platform]) -> None:
    """Each has its own runs and its own app, and the innermost is the one that is bound."""
    one, two = new_platform(), new_platform()
    first, second = echo_workflow(), echo_workflow()
    async with executing(one, first):
        in_one = await first.trigger("one")
        async with executing(two, second):
            in_two = await second.trigger("two")
            assert await output_of(two, in_two) == "two"
            with pytest.raises(NotFoundError):
                await two.get_execution(in_one)
        again = await first.trigger("one again")
        assert await output_of(one, in_one) == "one"
        assert await output_of(one, again) == "one again"
        assert [run.id for run in await all_runs(one)] == [again, in_one]


async def test_tasks_keep_the_platform_they_were_made_under(new_platform: Callable[[], Platform]) -> None:
    """The binding belongs to the context: tasks of two platforms side by side do not see each other's."""
    platforms = [new_platform(), new_platform()]
    started: list[str] = []
    both_entered = asyncio.Barrier(2)

    async def serve(platform: Platform) -> None:
        echo = echo_workflow()
        async with executing(platform, echo):
            await both_entered.wait()
            run_id = await echo.trigger("mine")
            started.append(run_id)
            await in_status(platform, run_id, ExecutionStatus.SUCCESS)
            await both_entered.wait()
            assert [run.id for run in await all_runs(platform)] == [run_id]

    await asyncio.gather(*(serve(platform) for platform in platforms))
    assert len(started) == 2


async def test_a_platform_executes_one_app_at_a_time(platform: Platform) -> None:
    """A second app while one executes is refused; afterwards it may."""
    async with platform:
        async with platform.execute(app_of(echo_workflow())):
            with pytest.raises(FailedPreconditionError):
                async with platform.execute(app_of()):
                    pass
        echo = echo_workflow()
        async with platform.execute(app_of(echo)):
            assert await output_of(platform, await echo.trigger(1)) == 1


async def test_entering_twice_closes_with_the_last_exit(platform: Platform) -> None:
    """A platform may be entered within itself, as a test around a served app does."""
    echo = echo_workflow()
    async with executing(platform, echo):
        async with platform:
            run_id = await echo.trigger(1)
        assert await output_of(platform, run_id) == 1
