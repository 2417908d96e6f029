"""Event loops with a time of their own, which passes at once whenever nothing is left to do but to wait for it.

What takes a second by that clock takes it on every machine. Only for tests in which all happens in the event loop: in
those that talk over sockets, to threads or to other processes, time-outs would be over before anything is answered.
"""

import asyncio
import selectors
from collections.abc import Sequence
from typing import Any

import pytest


class OwnTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while there is something to do.

    Attributes:
        turns: How often it has looked for something to do.
    """

    def __init__(self) -> None:
        self.turns = 0
        self._now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.turns += 1
        self._now += seconds


class _Selector(selectors.SelectSelector):
    """Waits for nothing but threads, when there is nothing else to wait for."""

    def __init__(self, loop: OwnTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        self._loop.pass_by(0 if ready else timeout or 0)
        return ready


def running_loop() -> OwnTimeLoop:
    """The loop of the test, for those that run in their own time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, OwnTimeLoop)
    return loop


OWN_TIME: Sequence[Any] = [pytest.param(("asyncio", {"loop_factory": OwnTimeLoop}), id="own-time")]

in_own_time = pytest.mark.parametrize("anyio_backend", OWN_TIME)
"""Runs a test in such a loop."""
