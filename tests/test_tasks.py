"""Tasks that go on when those who wait for them are cancelled."""

import asyncio
import logging

import pytest

from gqlplugin import tasks
from gqlplugin.tasks import begin, keep_running, result_of, stop
from tests.abandoned import Failing, nothing_reported

pytestmark = pytest.mark.anyio


async def test_all_who_wait_get_the_result() -> None:
    """It is made once; who comes late gets it, too."""
    task = begin(asyncio.sleep(0, "done"))
    assert list(await asyncio.gather(result_of(task), result_of(task))) == ["done", "done"]
    assert await result_of(task) == "done"


async def test_all_who_wait_get_the_error() -> None:
    """Who waits is told, although asyncio reports nothing."""
    failing = Failing()
    with nothing_reported():
        task = begin(failing())
        waiting = asyncio.gather(result_of(task), result_of(task), return_exceptions=True)
        await failing.began.wait()
        await failing.fail()
        assert list(map(type, await waiting)) == [ValueError] * 2
        del task, waiting


async def test_who_waits_for_a_cancelled_task_is_cancelled() -> None:
    """As who waits for the task itself."""
    task = begin(asyncio.Event().wait())
    waiter = asyncio.create_task(result_of(task))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()


async def test_a_task_goes_on_when_who_waits_is_cancelled() -> None:
    """The others get its result."""
    go_on = asyncio.Event()
    task = begin(go_on.wait())
    waiters = [asyncio.create_task(result_of(task)) for _ in range(2)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    await asyncio.wait([waiters[0]])
    go_on.set()
    assert await waiters[1]
    assert waiters[0].cancelled()


async def test_an_error_that_comes_after_is_not_reported() -> None:
    """Nobody waits for it any more."""
    failing = Failing()
    with nothing_reported():
        await failing.outlive(result_of(begin(failing())))


async def test_an_error_that_comes_at_the_same_moment_is_not_reported() -> None:
    """Who waits is cancelled when the task has failed, and before they have noticed."""
    failing = Failing()
    with nothing_reported():
        waiter = asyncio.create_task(result_of(begin(failing())))
        await failing.fail_while_cancelling(waiter)


async def test_a_task_may_clean_up_when_it_is_stopped() -> None:
    """Stopping waits for its end."""
    cleaned: list[str] = []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("up")

    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    await stop([task])
    assert task.cancelled()
    assert cleaned == ["up"]


async def test_a_task_that_does_not_stop_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither it nor what it waits for is among the tasks whose end a loop awaits; all others are."""
    monkeypatch.setattr(tasks, "CLEANUP_SECONDS", 0.01)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def gathering() -> None:
        await asyncio.gather(stubborn(), stubborn())

    stopped, other = asyncio.create_task(gathering()), asyncio.create_task(release.wait())
    before = asyncio.all_tasks() - {stopped}
    for _ in range(3):
        await asyncio.sleep(0)
    await stop([stopped])
    assert not stopped.done()
    assert asyncio.all_tasks() == before
    release.set()
    await asyncio.wait([stopped, other])


async def test_what_is_to_keep_running_starts_again_after_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each error is logged; cancelling ends it."""
    monkeypatch.setattr(tasks, "RESTART_SECONDS", 0.01)
    starts, runs = 0, asyncio.Event()

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError(starts)
        runs.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_running(work, "Working", logging.getLogger("gqlplugin")))
    async with asyncio.timeout(60):
        await runs.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [record.getMessage() for record in caplog.records] == ["Working: failed, and starts again in 0.01 s"] * 2
