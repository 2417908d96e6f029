"""Calls on another event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from gqlplugin.errors import FailedPreconditionError, OutcomeUnknownError, PlatformUnavailableError
from gqlplugin.platform.base import call_on

pytestmark = pytest.mark.anyio


@contextmanager
def another_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


named: ContextVar[str] = ContextVar("named")


async def test_a_call_on_another_loop_runs_there_in_the_context_of_the_caller() -> None:
    """Its result and its error come back, and what it sets in its context stays there."""

    async def call() -> tuple[asyncio.AbstractEventLoop, str]:
        before = named.get()
        named.set("changed")
        return asyncio.get_running_loop(), before

    async def fail() -> None:
        raise ValueError("as asked")

    with another_loop() as loop:
        named.set("the caller's")
        assert await call_on(loop, call) == (loop, "the caller's")
        assert named.get() == "the caller's"
        with pytest.raises(ValueError, match="as asked"):
            await call_on(loop, fail)


async def test_a_cancellation_is_passed_on_to_another_loop() -> None:
    """The call is cancelled where it runs."""
    begun, canceled = threading.Event(), threading.Event()

    async def call() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled.set()
            raise

    with another_loop() as loop:
        calling = asyncio.create_task(call_on(loop, call))
        assert await asyncio.to_thread(begun.wait, 10)
        calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled()
        assert await asyncio.to_thread(canceled.wait, 10)


async def test_a_call_that_a_blocked_loop_can_not_begin_is_never_made() -> None:
    """After the time it is given up for good, although the loop goes on later; a cancellation does the same."""
    made: list[str] = []
    free = threading.Event()

    def call_of(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def call() -> None:
            made.append(name)

        return call

    with another_loop() as loop:
        loop.call_soon_threadsafe(free.wait)
        with pytest.raises(PlatformUnavailableError, match="blocked"):
            await call_on(loop, call_of("too late"), patience=0.05)
        calling = asyncio.create_task(call_on(loop, call_of("cancelled")))
        await asyncio.sleep(0)
        calling.cancel()
        await asyncio.wait([calling])
        free.set()
        await call_on(loop, call_of("in time"))
    assert made == ["in time"]


async def test_a_call_on_a_loop_that_blocks_or_ends_meanwhile_does_not_wait_for_ever() -> None:
    """What became of it is not known, and the error says so."""

    async def block() -> None:
        asyncio.get_running_loop().call_soon(free.wait)
        await asyncio.Event().wait()

    async def end() -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    free = threading.Event()
    with another_loop() as loop:
        with pytest.raises(OutcomeUnknownError):
            await call_on(loop, block, patience=0.05)
        free.set()
        with pytest.raises(OutcomeUnknownError):
            await call_on(loop, end)


async def test_a_slow_call_on_a_loop_that_answers_is_waited_for() -> None:
    """The time is for a loop that is blocked, not for the call."""
    with another_loop() as loop:
        assert await call_on(loop, lambda: asyncio.sleep(0.3, "done"), patience=0.02) == "done"


async def test_a_loop_that_does_not_run_is_not_called() -> None:
    """A call would wait for ever."""
    loop = asyncio.new_event_loop()
    with pytest.raises(FailedPreconditionError, match="isn't running"):
        await call_on(loop, lambda: asyncio.sleep(0))
    loop.close()
