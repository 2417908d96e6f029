"""Threads for plain jobs: no more than there may be, whatever becomes of those who wait for them."""

import asyncio
import threading

import pytest

from gqlplugin.platform.threads import DaemonThreads
from gqlplugin.tasks import result_of

pytestmark = pytest.mark.anyio


async def test_a_thread_that_nobody_waits_for_counts_until_it_has_ended() -> None:
    """Giving up a call does not make room for another one while its thread works."""
    threads, release = DaemonThreads(1), threading.Event()

    async def run() -> bool:
        return await result_of(await threads.start(lambda: release.wait(60)))

    given_up, following = asyncio.create_task(run()), asyncio.create_task(run())
    try:
        async with asyncio.timeout(60):
            while not threads.at_work():  # noqa: ASYNC110 - a thread has no event for it
                await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(threads.at_work()) == 1
        assert not following.done()
    finally:
        release.set()
    assert await following
    assert threads.at_work() == []


async def test_a_thread_that_can_not_start_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the call's, and the next call has the place."""
    threads = DaemonThreads(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _out_of_threads)
        with pytest.raises(RuntimeError, match="new thread"):
            await (await threads.start(lambda: 1))
    assert await (await threads.start(lambda: 2)) == 2


def _out_of_threads(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
