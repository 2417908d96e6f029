"""Tasks that go on when those who wait for them are cancelled, and tasks that go on when they are cancelled."""

from __future__ import annotations

import asyncio
import ctypes
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")

CLEANUP_SECONDS = 5.0
"""How long a task that was cancelled may clean up."""

RESTART_SECONDS = 1.0
"""How long a task that failed pauses before it starts again."""


@overload
def begin(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]: ...
@overload
def begin(call: Awaitable[T]) -> asyncio.Future[T]: ...
def begin(call: Awaitable[T]) -> asyncio.Future[T]:
    """A task for a call. When it fails and nobody waits for it any more, asyncio does not report its error."""
    task = asyncio.ensure_future(call)
    task.add_done_callback(_see)
    return task


async def result_of(task: asyncio.Future[T]) -> T:
    """The result of a task, or its error; the task goes on when this is cancelled.

    `asyncio.shield` would report an error that comes after that.
    """
    await asyncio.wait([task])
    return task.result()


async def keep_running(work: Callable[[], Coroutine[Any, Any, None]], what: str, logger: logging.Logger) -> None:
    """Run something that is to go on until it is cancelled; after an error it is logged and starts again.

    Args:
        work: Makes the coroutine, for each start.
        what: Names it in the log, as in "Expired runs".
        logger: Where errors are logged.
    """
    while True:
        try:
            await work()
            return
        except Exception:
            logger.exception("%s: failed, and starts again in %g s", what, RESTART_SECONDS)
        await asyncio.sleep(RESTART_SECONDS)


async def stop(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their end, but not for ever: a task may ignore it.

    What goes on after `CLEANUP_SECONDS` is abandoned, with the tasks that it waits for: `asyncio.run` would wait for
    them when it ends, and so keep the process from ending.
    """
    stopping_before = _being_cancelled()
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLEANUP_SECONDS)
    if not all(task.done() for task in tasks):
        for task in _being_cancelled() - stopping_before - {asyncio.current_task()}:
            asyncio._unregister_task(task)  # noqa: SLF001 - documented, at asyncio-extending.html
            # never finalized: a coroutine that catches GeneratorExit too, in a loop, would not let the process exit
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))


def _being_cancelled() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task.cancelling()}


def _see(task: asyncio.Future[T]) -> None:
    if not task.cancelled():
        task.exception()  # asyncio reports those that nobody has looked at
