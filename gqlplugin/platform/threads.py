"""Threads for jobs that are plain functions: bounded in number, and none of them keeps the process from ending."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

R = TypeVar("R")


class DaemonThreads:
    """Runs calls that block. A call that is cancelled is left to itself, and dies with the process.

    Args:
        limit: How many at once; the others wait.
    """

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)

    async def run(self, call: Callable[[], R]) -> R:
        """The result of a call, made in a thread with the context of this task."""
        async with self._free:
            loop = asyncio.get_running_loop()
            result: asyncio.Future[R] = loop.create_future()
            work = partial(copy_context().run, _work, call, partial(_tell, loop, result))
            threading.Thread(target=work, name="gqlplugin-job", daemon=True).start()
            return await result


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
