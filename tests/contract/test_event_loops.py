"""Calls from other event loops and threads of the process than those that the platform works on."""

import asyncio
import contextvars
import multiprocessing
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from gqlplugin.errors import FailedPreconditionError, InvalidInputError, NotFoundError, SetupError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Binding, Platform, bind, current_binding
from gqlplugin.runs import ExecutionStatus
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import Workflow, create_workflow
from tests.contract.support import (
    ALICE,
    EVERYTHING,
    all_runs,
    app_of,
    echo_workflow,
    ended,
    executing,
    output_of,
    workflow_of,
)

pytestmark = pytest.mark.anyio

Start = Callable[[Workflow[Any, Any], Any], str]


def start_by_asyncio_run(workflow: Workflow[Any, Any], arg: Any) -> str:
    return asyncio.run(workflow.trigger(arg))


def start_by_trigger_sync(workflow: Workflow[Any, Any], arg: Any) -> str:
    return workflow.trigger_sync(arg)


STARTS = pytest.mark.parametrize("start", [start_by_asyncio_run, start_by_trigger_sync])


@STARTS
async def test_a_start_in_another_thread_is_one_run(platform: Platform, start: Start) -> None:
    """The ID is returned there, and one run was started, which takes part in everything."""
    echo = echo_workflow()
    async with executing(platform, echo):
        run_id = await asyncio.to_thread(start, echo, 1)
        assert await output_of(platform, run_id) == 1
        assert [run.id for run in await all_runs(platform)] == [run_id]


@STARTS
async def test_several_threads_start_at_once(platform: Platform, start: Start) -> None:
    """Every start is a run of its own, and none hangs."""
    echo = echo_workflow()

    def start_three(number: int) -> list[str]:
        return [start(echo, [number, index]) for index in range(3)]

    async with executing(platform, echo):
        started = await asyncio.gather(*(asyncio.to_thread(start_three, number) for number in range(6)))
        outputs = [[await output_of(platform, run_id) for run_id in run_ids] for run_ids in started]
        assert outputs == [[[number, index] for index in range(3)] for number in range(6)]
        assert len(await all_runs(platform)) == 18


@pytest.mark.needs("callers")
@STARTS
async def test_a_start_in_another_thread_has_the_caller_of_its_context(platform: Platform, start: Start) -> None:
    """Who calls is told by the context of the thread, as it is within one event loop."""
    echo = echo_workflow()
    async with executing(platform, echo):
        with bind(Binding(platform, current_binding().definitions, ALICE)):
            run_id = await asyncio.to_thread(start, echo, 1)
        assert (await platform.get_execution(run_id)).caller == ALICE


@STARTS
async def test_what_is_refused_in_another_thread_raises_there(platform: Platform, start: Start) -> None:
    """The error is the same as on the platform's own event loop, and nothing was started."""
    echo, strict = echo_workflow(), create_workflow(name="strict", input=int)
    async with executing(platform, echo):
        with pytest.raises(InvalidInputError):
            await asyncio.to_thread(start, strict, "no number")
        with pytest.raises(NotFoundError):
            await asyncio.to_thread(lambda: asyncio.run(platform.get_execution("no-such-run")))
        assert await all_runs(platform) == []


async def test_a_run_is_read_and_watched_on_another_event_loop(platform: Platform) -> None:
    """Every method works there; a watch that is left early is closed."""
    echo = echo_workflow()

    async def elsewhere() -> None:
        run_id = await echo.trigger("a")
        async for _ in platform.watch(run_id):
            break
        run = await ended(platform, run_id)
        assert (run.status, run.output) == (ExecutionStatus.SUCCESS, '"a"')
        assert len((await platform.get_jobs([run_id]))[run_id]) == 1
        assert [one.id for one in (await platform.list_executions(EVERYTHING, first=9)).executions] == [run_id]
        with pytest.raises(FailedPreconditionError):
            await platform.resume(run_id)

    async with executing(platform, echo):
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))


@pytest.mark.needs("wait-points")
async def test_a_wait_point_is_answered_in_another_thread(platform: Platform) -> None:
    """`asyncio.run(wait_point.resolve(...))` in a plain function lets the run go on."""
    approval = define_wait_point("approval", payload=str, result=bool)

    @create_workflow_job(name="ask")
    async def ask() -> bool:
        return await approval.wait("may I?")

    asking = workflow_of(ask)
    async with executing(platform, asking):
        run_id = await asking.trigger()
        async for run in platform.watch(run_id):
            if run.status is ExecutionStatus.WAITING:
                await asyncio.to_thread(lambda: asyncio.run(approval.resolve(run_id, True)))
                break
        assert await output_of(platform, run_id) is True


async def test_an_entry_on_another_event_loop_neither_opens_nor_closes(platform: Platform) -> None:
    """`async with platform:` binds there, whichever loop is left first; what it is bound to belongs to the first."""
    echo = echo_workflow()

    async def elsewhere() -> str:
        async with platform:
            with pytest.raises(FailedPreconditionError, match="another event loop"):
                async with platform.execute(app_of(echo)):
                    pass
            return await echo.trigger(1)

    async with executing(platform, echo):
        threads = (asyncio.to_thread(lambda: asyncio.run(elsewhere())) for _ in range(3))
        for run_id in await asyncio.gather(*threads):
            assert await output_of(platform, run_id) == 1


async def test_trigger_sync_is_refused_on_an_event_loop(platform: Platform) -> None:
    """It would block that loop: the error says to await `trigger`, and nothing was started."""
    echo = echo_workflow()
    async with executing(platform, echo):
        with pytest.raises(FailedPreconditionError, match=r"await workflow.trigger"):
            echo.trigger_sync(1)
        assert await all_runs(platform) == []


@pytest.mark.needs("errors")
@STARTS
async def test_a_plain_job_can_not_trigger_in_its_thread(platform: Platform, start: Start) -> None:
    """What it triggers would have no certain order: it is refused, whatever the way, and nothing is started."""
    echo = echo_workflow()

    @create_workflow_job(name="plain")
    def plain(_: None, ctx: JobContext) -> str:
        with suppress(RuntimeError):
            start(echo, 1)
        return "unreachable"

    main = workflow_of(plain)
    async with executing(platform, main, echo):
        run = await ended(platform, await main.trigger())
        assert run.status is ExecutionStatus.FAILED
        assert run.error is not None
        assert run.error.code == "FAILED_PRECONDITION"
        assert "async def" in run.error.message
        assert [one.id for one in await all_runs(platform)] == [run.id]


async def test_without_its_event_loop_a_platform_is_not_called(platform: Platform) -> None:
    """A call from a loop while the platform's own does not run is refused at once, and does not wait for ever."""
    echo = echo_workflow()
    raised: list[BaseException] = []

    async def call() -> None:
        try:
            await platform.start_workflow("echo-it", "1", caller=ALICE)
        except BaseException as error:
            raised.append(error)

    def stop_and_call() -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(platform.__aenter__())
            asyncio.run(call())
            loop.run_until_complete(platform.__aexit__())
        finally:
            loop.close()

    thread = threading.Thread(target=stop_and_call)
    thread.start()
    await asyncio.to_thread(thread.join, 30)
    assert [type(error) for error in raised] == [SetupError]
    async with executing(platform, echo):  # on another loop than before
        assert await all_runs(platform) == []


async def test_a_forked_process_is_told_to_open_a_platform_of_its_own(platform: Platform) -> None:
    """What a platform works with does not survive a fork: calling or entering it there is refused at once."""
    echo = echo_workflow()

    async def enter() -> None:
        async with platform:
            pass

    def refused() -> None:
        for call in (lambda: echo.trigger_sync(1), lambda: asyncio.run(enter())):
            with pytest.raises(FailedPreconditionError, match="forked"):
                call()
        os._exit(7)

    async with executing(platform, echo):
        child = await asyncio.to_thread(forked, refused)
        await asyncio.to_thread(child.join, 60)
        assert child.exitcode == 7
        assert await all_runs(platform) == []


def forked(work: Callable[[], None]) -> BaseProcess:
    child = multiprocessing.get_context("fork").Process(target=contextvars.copy_context().run, args=(work,))
    child.start()
    return child
