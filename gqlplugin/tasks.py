"""Tasks that go on when those who wait for them are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def begin(call: Awaitable[T]) -> asyncio.Task[T]:
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


def _see(task: asyncio.Future[T]) -> None:
    if not task.cancelled():
        task.exception()  # asyncio reports those that nobody has looked at
