"""Noticing that runs have changed: at once within this process, within 100 ms from another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager


class Changes:
    """Tells those who wait for a run that it may have changed.

    Attributes:
        closed: Whether the journal is being closed, so that nobody need wait any longer.
    """

    def __init__(self) -> None:
        self.closed = False
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

    def close(self) -> None:
        """There will be no more changes to be told of: wake everybody up."""
        self.closed = True
        self.tell()

    def tell(self, touched: Callable[[], Collection[str] | None] = lambda: None) -> None:
        """Some runs may have changed: those that `touched` names when somebody waits, or any."""
        if not self._waiting:
            return
        run_ids = touched()
        for run_id in list(self._waiting) if run_ids is None else run_ids:
            for event in self._waiting.get(run_id, ()):
                event.set()
