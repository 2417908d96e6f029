"""Calls that fail when nobody waits for them any more, and what asyncio reports of them."""

import asyncio
import gc
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


@contextmanager
def nothing_reported() -> Iterator[None]:
    """Fails when asyncio reports something, as it does of a task whose error nobody has looked at."""
    loop = asyncio.get_running_loop()
    reports: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, report: reports.append(report))
    try:
        yield
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert reports == []


class Failing:
    """A call that fails when it is told to.

    Attributes:
        began: Set once it waits for that.
        task: The task that it is made in.
    """

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.task: asyncio.Task[Any] | None = None
        self._may_fail = asyncio.Event()

    async def __call__(self, *_: object, **__: object) -> NoReturn:
        self.task = asyncio.current_task()
        self.began.set()
        await self._may_fail.wait()
        raise ValueError("an error that nobody waits for")

    async def fail(self) -> None:
        """Let it fail, and forget it."""
        self._may_fail.set()
        assert self.task is not None
        await asyncio.wait([self.task])
        self.task = None

    async def outlive(self, waiting: Coroutine[Any, Any, object]) -> None:
        """Let it fail after what waits for it was cancelled."""
        waiter = asyncio.create_task(waiting)
        await self.began.wait()
        waiter.cancel()
        await asyncio.wait([waiter])
        assert waiter.cancelled()
        await self.fail()

    async def fail_while_cancelling(self, waiter: asyncio.Task[Any]) -> None:
        """Let it fail, and what waits for it be cancelled before that has noticed."""
        await self.began.wait()
        assert self.task is not None
        self.task.add_done_callback(lambda _: waiter.cancel())
        await self.fail()
        await asyncio.wait([waiter])
        assert waiter.cancelled()
