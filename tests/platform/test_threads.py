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


async def test_a_call_waits_for_a_thread_that_the_system_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs when there is one; a call that is given up meanwhile leaves its place."""
    monkeypatch.setattr("gqlplugin.platform.threads._RETRY_SECONDS", 0.01)
    threads, start, tries = DaemonThreads(1), threading.Thread.start, 0

    def start_later(thread: threading.Thread) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_later)
    given_up = asyncio.create_task(threads.start(lambda: 1))
    async with asyncio.timeout(60):
        while not tries:  # noqa: ASYNC110 - a thread has no event for it
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert await (await threads.start(lambda: 2)) == 2
    assert tries == 4
