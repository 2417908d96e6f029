"""Entering a platform: what it works with is opened at the first entry and closed at the last exit.

A platform works on the event loop of its first entry. Calls from other loops of the process are made on that one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Generic, TypeVar

from gqlplugin.errors import HOW_TO_RUN, SetupError
from gqlplugin.platform.base import Binding, Platform, bind
from gqlplugin.platform.loops import call_on

S = TypeVar("S")


class Entering(Generic[S]):
    """Lets a platform be entered within itself, as a test around a served app does. Each entry binds it.

    An entry on another event loop than the first one's only binds the platform: it neither opens nor closes it.

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
        self._claiming = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entries = 0
        self._process = 0
        self._opening = asyncio.Lock()
        self._exits: dict[asyncio.AbstractEventLoop, list[AsyncExitStack]] = {}

    @property
    def other_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the platform works on; None when that is the current one, or it is not entered.

        Raises:
            SetupError: The platform was entered before this process was forked.
        """
        if not self._entries or self._loop is asyncio.get_running_loop():
            return None
        self._check_process()
        return self._loop

    async def enter(self) -> None:
        """Open what the platform works with, unless it is open, and bind the platform."""
        here = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            if (loop := self._claim(here)) is here:
                stack.callback(self._release)
                async with self._opening:
                    if self.resource is None:
                        self.resource = await stack.enter_async_context(self._open())
                        stack.callback(self._forget)
            else:
                await call_on(loop, self._opened)
            stack.enter_context(bind(Binding(self._platform)))
            self._exits.setdefault(here, []).append(stack.pop_all())

    async def leave(self) -> None:
        """Undo the entry before; the first one closes.

        Raises:
            SetupError: The entry was on another event loop.
        """
        here = asyncio.get_running_loop()
        stacks = self._exits.get(here)
        if stacks is None:
            raise SetupError("The platform is left on another event loop than it was entered on.")
        stack = stacks.pop()
        if not stacks:
            del self._exits[here]
        await stack.aclose()

    def opened(self) -> S:
        """What is open.

        Raises:
            SetupError: The platform is not entered, or on another event loop than this one.
        """
        if self.resource is None:
            raise SetupError(f"The {type(self._platform).__name__} is not open. {HOW_TO_RUN}")
        if asyncio.get_running_loop() is not self._loop:
            raise SetupError(
                "The platform is open on another event loop: enter `platform.execute(app)` there. A platform executes "
                "on one event loop, and can be called from any."
            )
        return self.resource

    def _claim(self, here: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """The event loop that the platform works on, which is this one unless another came first."""
        with self._claiming:
            if self._loop is None or not self._entries:
                self._loop, self._opening = here, asyncio.Lock()
                self._process = os.getpid()
            if self._loop is here:
                self._entries += 1
            else:
                self._check_process()
            return self._loop

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise SetupError(
                "The platform was opened before this process was forked: make and enter a platform in this process."
            )

    def _release(self) -> None:
        with self._claiming:
            self._entries -= 1

    async def _opened(self) -> None:
        async with self._opening:
            self.opened()

    def _forget(self) -> None:
        self.resource = None
