"""Threads for jobs that are plain functions: bounded in number, and none of them keeps the process from ending."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

R = TypeVar("R")

_RETRY_SECONDS = 1.0

_logger = logging.getLogger("gqlplugin.platform")


class DaemonThreads:
    """Runs calls that block. A thread can't be stopped: it dies with the process at the latest.

    Args:
        limit: How many at once; the others wait.
    """

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._threads: set[threading.Thread] = set()

    async def start(self, call: Callable[[], R]) -> asyncio.Future[R]:
        """Start a call in a thread with the context of this task; waits until there may be one more.

        It also waits while the system has no thread to give: the call did not run, so that is not its failure.

        Returns:
            The result of the call; it is done when the thread has done its work.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[R] = loop.create_future()
        work = partial(copy_context().run, _work, call, partial(_tell, loop, result))
        try:
            thread = await _started(work)
        except BaseException:
            self._free.release()
            raise
        self._threads.add(thread)
        result.add_done_callback(lambda _: self._ended(thread))
        return result

    def at_work(self) -> list[threading.Thread]:
        """The threads that have not ended."""
        return [thread for thread in self._threads if thread.is_alive()]

    def _ended(self, thread: threading.Thread) -> None:
        self._threads.discard(thread)
        self._free.release()


async def _started(work: Callable[[], None]) -> threading.Thread:
    """A thread that works, as soon as the system has one."""
    while True:
        thread = threading.Thread(target=work, name="gqlplugin-job", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            _logger.warning("A plain job waits for a thread (%s); the next try is in %g s", error, _RETRY_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return thread


def _work(call: Callable[[], R], tell: Callable[[R | None, BaseException | None], None]) -> None:
    try:
        value = call()
    except StopIteration as error:
        failure = RuntimeError("the function raised StopIteration, which no future can hold")
        failure.__cause__ = error
        tell(None, failure)
    except BaseException as error:
        tell(None, error)
    else:
        tell(value, None)


def _tell(
    loop: asyncio.AbstractEventLoop, result: asyncio.Future[Any], value: Any, error: BaseException | None
) -> None:
    with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
        loop.call_soon_threadsafe(settle, result, value, error)


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future its result, or its error when there is one, unless it was cancelled meanwhile."""
    if future.done():
        return  # cancelled: whoever waited has left, the write stands
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
