"""Noticing that runs have changed: at once within this process, within 100 ms from another."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from gqlplugin.platform.embedded.database import open_reader

_logger = logging.getLogger("gqlplugin.embedded")

POLL_SECONDS = 0.05


class Changes:
    """Tells those who wait for a run that it may have changed."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def of(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the run may have changed."""
        event = asyncio.Event()
        self._waiting[run_id].add(event)
        try:
            yield event
        finally:
            self._waiting[run_id].discard(event)
            if not self._waiting[run_id]:
                del self._waiting[run_id]

    def tell(self, run_ids: Collection[str] | None = None) -> None:
        """These runs may have changed; None means any."""
        if not self._waiting:
            return
        for run_id in list(self._waiting) if run_ids is None else run_ids:
            for event in self._waiting.get(run_id, ()):
                event.set()


class FileWatch:
    """A thread that polls a file for commits of other connections.

    Args:
        path: The file.
        on_poll: Called on the loop with whether something changed; also without a change while `eager` is true.
    """

    def __init__(self, path: str, on_poll: Callable[[bool], None]) -> None:
        self.eager = False
        self._on_poll = on_poll
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._connection = open_reader(path)
        self._thread = threading.Thread(target=self._work, name="gqlplugin-watch", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """End the thread."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        version = self._version()
        while not self._stop.wait(POLL_SECONDS):
            previous, version = version, self._version()
            if self.eager or version != previous:
                with suppress(RuntimeError):  # the loop was closed under us
                    self._loop.call_soon_threadsafe(self._on_poll, version != previous)
        self._connection.close()

    def _version(self) -> int | None:
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            _logger.exception("The journal can't be polled")
            return None
