"""The watchdog: a job that blocks the event loop is named in the log, with the line."""

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gqlplugin.job import create_workflow_job
from gqlplugin.testing import MemoryPlatform
from tests.contract.support import app_of, output_of, workflow_of

pytestmark = pytest.mark.anyio

LINE_OF_SLEEP = 2


def sleep_here(seconds: float) -> None:
    """Block the thread that calls this."""
    time.sleep(seconds)


@create_workflow_job(name="blocks-itself")
async def blocks_itself(seconds: float) -> None:
    sleep_here(seconds)


@create_workflow_job(name="blocks-in-task")
async def blocks_in_task(seconds: float) -> None:
    async def helper() -> None:
        sleep_here(seconds)

    await asyncio.gather(helper(), helper())


@create_workflow_job(name="blocks-in-inner")
async def blocks_in_inner(seconds: float) -> None:
    await blocks_itself.trigger(seconds)


@create_workflow_job(name="turns-often")
async def turns_often(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sleep_here(0.01)
        await asyncio.sleep(0)


@create_workflow_job(name="is-plain")
def is_plain(seconds: float) -> None:
    sleep_here(seconds)


@asynccontextmanager
async def running(job: Any, seconds: float, times: int = 1) -> AsyncIterator[None]:
    """Having run a job a few times."""
    workflow = workflow_of(job)
    async with MemoryPlatform() as platform, platform.execute(app_of(workflow)):
        for _ in range(times):
            await output_of(platform, await workflow.trigger(seconds))
        yield


def reported(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of blocking."""
    return [record.getMessage() for record in caplog.records if "blocked the event loop" in record.getMessage()]


@pytest.mark.parametrize(
    ("job", "name"),
    [
        (blocks_itself, "blocks-itself"),
        (blocks_in_task, "blocks-in-task"),
        (blocks_in_inner, "blocks-in-inner/blocks-itself"),
    ],
    ids=["itself", "task", "inner"],
)
async def test_a_job_that_blocks_is_reported_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, job: Any, name: str
) -> None:
    """The warning names the innermost job and the line of its code, and does not come again at once."""
    monkeypatch.setattr("gqlplugin.platform.threads.BLOCKED_SECONDS", 0.2)
    caplog.set_level(logging.WARNING)
    async with running(job, 1.0, times=2):
        (line,) = reported(caplog)
    assert f"Job {name!r} of run " in line
    assert f"{__file__}:{_line_of(sleep_here)}, in sleep_here" in line


async def test_what_blocks_for_a_second_is_reported_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """A second is the limit that nobody has to set."""
    async with running(blocks_itself, 2.0):
        assert len(reported(caplog)) == 1


@pytest.mark.parametrize("job", [turns_often, is_plain], ids=["short steps", "plain"])
async def test_what_leaves_the_loop_free_is_not_reported(caplog: pytest.LogCaptureFixture, job: Any) -> None:
    """Neither a job that works in short steps nor one that runs in a thread blocks anything."""
    async with running(job, 1.5):
        assert reported(caplog) == []


def _line_of(function: Callable[..., object]) -> int:
    return inspect.getsourcelines(function)[1] + LINE_OF_SLEEP
