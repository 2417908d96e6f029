"""One call for all who ask for the same at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from gqlplugin.tasks import begin, result_of

T = TypeVar("T")


class Flights(Generic[T]):
    """Calls under way, by what they are for. One goes on when those who wait for it are cancelled."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Future[T]] = {}

    async def join(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result of the call for this key that is under way, or of a new one."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = begin(call())
            task.add_done_callback(lambda _: self._tasks.pop(key))
        return await result_of(task)

    async def land(self) -> None:
        """Wait for all that is under way."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def gather_bounded(calls: Iterable[Callable[[], Awaitable[T]]], *, at_once: int = 8) -> list[T]:
    """The results of calls, a few of them at once; the first error ends them all."""
    free = asyncio.Semaphore(at_once)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with free:
            return await call()

    tasks = [asyncio.ensure_future(one(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
