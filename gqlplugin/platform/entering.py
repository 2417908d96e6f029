"""Entering a platform: what it works with is opened at the first entry and closed at the last exit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Generic, TypeVar

from gqlplugin.errors import HOW_TO_RUN, SetupError
from gqlplugin.platform.base import Binding, Platform, bind

S = TypeVar("S")


class Entering(Generic[S]):
    """Lets a platform be entered within itself, as a test around a served app does. Each entry binds it.

    Args:
        platform: The platform; errors name its class alone, and so no path or address of the server.
        open: Opens what it works with.

    Attributes:
        resource: What was opened; None while the platform is not entered.
    """

    def __init__(self, platform: Platform, open: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        self.resource: S | None = None
        self._platform = platform
        self._open = open
        self._opening = asyncio.Lock()
        self._exits: list[AsyncExitStack] = []

    async def enter(self) -> None:
        """Open what the platform works with, unless it is open, and bind the platform."""
        async with self._opening, AsyncExitStack() as stack:
            if self.resource is None:
                self.resource = await stack.enter_async_context(self._open())
                stack.callback(self._forget)
            stack.enter_context(bind(Binding(self._platform)))
            self._exits.append(stack.pop_all())

    async def leave(self) -> None:
        """Undo the entry before; the first one closes."""
        await self._exits.pop().aclose()

    def opened(self) -> S:
        """What is open.

        Raises:
            SetupError: The platform is not entered.
        """
        if self.resource is None:
            raise SetupError(f"The {type(self._platform).__name__} is not open. {HOW_TO_RUN}")
        return self.resource

    def _forget(self) -> None:
        self.resource = None
