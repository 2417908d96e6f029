"""Things that are opened by the first who needs them, and closed by the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

R = TypeVar("R")


class Shared:
    """Holds what several entries share, in one event loop. They may be left in another order than they were entered."""

    def __init__(self) -> None:
        self._changing = asyncio.Lock()
        self._open: dict[Hashable, tuple[AsyncExitStack, object]] = {}
        self._holders: dict[Hashable, int] = {}

    def find(self, key: Hashable) -> object | None:
        """What is open under a key."""
        found = self._open.get(key)
        return None if found is None else found[1]

    @asynccontextmanager
    async def hold(self, key: Hashable, open_: Callable[[], AbstractAsyncContextManager[R]]) -> AsyncIterator[R]:
        """What is open under a key, of one type for each; it stays so until the last of those who hold it leaves."""
        async with self._changing:
            if key not in self._open:
                async with AsyncExitStack() as stack:
                    resource = await stack.enter_async_context(open_())
                    self._open[key] = stack.pop_all(), resource
            self._holders[key] = self._holders.get(key, 0) + 1
        try:
            yield self._open[key][1]  # type: ignore[misc]  # a key stands for one type
        finally:
            await self._let_go(key)

    async def _let_go(self, key: Hashable) -> None:
        async with self._changing:
            self._holders[key] -= 1
            if self._holders[key] == 0:
                del self._holders[key]
                stack, _ = self._open.pop(key)
                await stack.aclose()
