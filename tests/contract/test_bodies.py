"""Whatever ends the body of a job ends its run, and what its texts hold can be shown."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import pytest

from gqlplugin.errors import JobFailedError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus, JobStatus
from tests.contract.support import ended, executing, failed, jobs_of, output_of, workflow_of

pytestmark = pytest.mark.anyio

NOT_UTF_8 = os.fsdecode(b"caf\xe9.txt")


class PanicException(BaseException):
    """What a panic in a library written in Rust becomes."""


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise PanicException("no text")

    __repr__ = __str__


class UnreadableFailedError(JobFailedError):
    def __str__(self) -> str:
        raise ValueError("no text")


def _raises(error: BaseException) -> Callable[[], NoReturn]:
    def end() -> NoReturn:
        raise error

    return end


def _exit() -> NoReturn:
    sys.exit(3)


ENDS: dict[str, Callable[[], NoReturn]] = {
    "panic": _raises(PanicException("called `Option::unwrap()` on a `None` value")),
    "interrupt": _raises(KeyboardInterrupt()),
    "exit": _exit,
    "generator-exit": _raises(GeneratorExit()),
    "stop": _raises(StopIteration()),
    "async-stop": _raises(StopAsyncIteration()),
    "cancelled": _raises(asyncio.CancelledError()),
    "unreadable": _raises(UnreadableError()),
    "unreadable-failure": _raises(UnreadableFailedError()),
    "group": _raises(BaseExceptionGroup("several", [PanicException(), KeyboardInterrupt(), ValueError()])),
}


async def test_whatever_a_body_raises_fails_its_run(platform: Platform) -> None:
    """In the main job and in one that it triggers, in async functions and plain ones; the platform goes on."""

    @create_workflow_job(name="inner")
    async def inner(end: str) -> None:
        ENDS[end]()

    @create_workflow_job(name="inner-plain")
    def inner_plain(end: str) -> None:
        ENDS[end]()

    @create_workflow_job(name="main-job")
    async def main(input: tuple[str, str]) -> str:
        where, end = input
        if where == "main":
            ENDS[end]()
        if where == "none":
            return end
        await (inner if where == "inner" else inner_plain).trigger(end)
        return where

    workflow = workflow_of(main)
    async with executing(platform, workflow):
        cases = [(where, end) for where in ("main", "inner", "plain") for end in ENDS]
        run_ids = {case: await workflow.trigger(case) for case in cases}
        for (where, end), run_id in run_ids.items():
            run = await failed(platform, run_id)
            assert {job.status for job in (await jobs_of(platform, run_id)).values()} == {JobStatus.FAILED}, (
                where,
                end,
            )
            assert run.finished_at is not None
        assert await output_of(platform, await workflow.trigger(("none", "fine"))) == "fine"


async def cancel_and_wait() -> None:
    _this_task().cancel()
    await asyncio.sleep(60)


async def cancel_and_return() -> None:
    _this_task().cancel()


async def be_cancelled_by_a_child() -> None:
    asyncio.get_running_loop().call_soon(_this_task().cancel)
    await asyncio.sleep(60)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.mark.parametrize("body", [cancel_and_wait, cancel_and_return, be_cancelled_by_a_child])
async def test_a_body_that_cancels_its_own_task_has_failed(
    platform: Platform, body: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Nobody canceled the run, so that it is FAILED: it does not wait for the next start."""

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await body()

    workflow = workflow_of(main)
    async with executing(platform, workflow):
        await failed(platform, await workflow.trigger())


async def test_a_body_may_catch_the_cancellation_of_its_task(platform: Platform) -> None:
    """It has succeeded when it returns after that."""

    @create_workflow_job(name="main-job")
    async def main() -> str:
        try:
            await cancel_and_wait()
        except asyncio.CancelledError:
            return "caught"
        return "not cancelled"

    workflow = workflow_of(main)
    async with executing(platform, workflow):
        assert await output_of(platform, await workflow.trigger()) == "caught"


async def test_a_body_may_return_before_its_tasks(platform: Platform) -> None:
    """What still runs then can trigger nothing more, and keeps nothing from ending."""
    release, left = asyncio.Event(), set[asyncio.Task[None]]()

    @create_workflow_job(name="inner")
    async def inner() -> str:
        return "done"

    async def go_on() -> None:
        await release.wait()
        await inner.trigger()

    @create_workflow_job(name="main-job")
    async def main() -> str:
        left.add(asyncio.create_task(go_on()))
        return "returned"

    workflow = workflow_of(main)
    async with executing(platform, workflow):
        run_id = await workflow.trigger()
        assert await output_of(platform, run_id) == "returned"
        release.set()
        [late] = await asyncio.gather(*left, return_exceptions=True)
        assert "has ended" in str(late)
        assert list(await jobs_of(platform, run_id)) == ["main-job"]


@pytest.mark.needs("errors", "logs", "progress")
@pytest.mark.parametrize("text", [NOT_UTF_8, "a\0b"])
async def test_text_that_cannot_be_encoded_is_kept_readably(platform: Platform, text: str) -> None:
    """In logs, progress and errors: it is replaced by its escapes, once, for all who look."""

    @create_workflow_job(name="main-job")
    async def main(_: None, ctx: JobContext) -> None:
        ctx.log.info("reading %s", text)
        ctx.progress(0.5, f"reading {text}")
        raise JobFailedError(f"There is no {text}.", code=f"NO_{text}") from ValueError(text)

    workflow = workflow_of(main)
    async with executing(platform, workflow):
        run_id = await workflow.trigger()
        run = await ended(platform, run_id)
        jobs = await jobs_of(platform, run_id)
    shown = text.replace("\udce9", "\\udce9").replace("\0", "\\x00")
    job = jobs["main-job"]
    assert run.status is ExecutionStatus.FAILED
    assert run.error is not None
    assert job.error is not None
    assert (run.error.message, run.error.code) == (f"There is no {shown}.", f"NO_{shown}")
    assert job.progress is not None
    assert job.progress.message == f"reading {shown}"
    assert [line.endswith(f"reading {shown}") for line in job.logs] == [True]
    for kept in (run.error.message, run.error.detail, job.error.detail, job.progress.message, *job.logs):
        if kept is not None:
            kept.encode()
            assert "\0" not in kept
