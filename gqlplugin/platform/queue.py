"""How many runs of a platform wait, for metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress

from gqlplugin.errors import GqlpluginError
from gqlplugin.tasks import keep_running
from gqlplugin.telemetry import observe_queue

_logger = logging.getLogger("gqlplugin.platform")

_REFRESH_SECONDS = 5.0


class QueueDepth:
    """Keeps the number of the runs that are due and have not begun, once somebody has asked for it.

    Args:
        count: Counts them, by workflow.
        workflows: The names of those that are told of, even when none of their runs waits.
    """

    def __init__(self, count: Callable[[], Awaitable[Mapping[str, int]]], workflows: Collection[str]) -> None:
        self._count = count
        self._depths: Mapping[str, int] = dict.fromkeys(workflows, 0)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._forget = observe_queue(self._read)

    def stop(self) -> None:
        """Tell it no more."""
        self._forget()
        if self._task is not None:
            self._task.cancel()

    def _read(self) -> Mapping[str, int]:
        """The number that was read last; on any thread."""
        if self._task is None:
            with suppress(RuntimeError):  # the loop is closed: what is kept stays
                self._loop.call_soon_threadsafe(self._begin)
        return self._depths

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(keep_running(self._keep, "Counting the queue", _logger))

    async def _keep(self) -> None:
        while True:
            try:
                found = await self._count()
                self._depths = {name: found.get(name, 0) for name in self._depths.keys() | found.keys()}
            except GqlpluginError as error:
                _logger.warning("The queue could not be counted (%s); next try in %g s", error.code, _REFRESH_SECONDS)
            await asyncio.sleep(_REFRESH_SECONDS)
