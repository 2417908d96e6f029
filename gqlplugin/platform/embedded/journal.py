"""An open journal: the connections and threads that belong to one file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Self, TypeVar

from gqlplugin.platform.embedded.changes import Changes, FileWatch
from gqlplugin.platform.embedded.database import MEMORY, open_writer
from gqlplugin.platform.embedded.reader import PooledReader, Reader, WriterReader
from gqlplugin.platform.embedded.writer import Batch, Writer

R = TypeVar("R")


class Journal:
    """Made by `Journal.open`, on the event loop that uses it."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self.changes = Changes()
        self.writer = Writer(connection, self._committed)
        self.reader: Reader = WriterReader(self.writer) if self.in_memory else PooledReader(path)
        self.on_poll: Callable[[], None] | None = None
        self._watch = None if self.in_memory else FileWatch(path, self._polled)

    @classmethod
    async def open(cls, path: str) -> Self:
        """Open a file, which is made if it isn't there.

        Raises:
            FailedPreconditionError: It can't be used as a journal.
        """
        return cls(path, await asyncio.to_thread(open_writer, path))

    @property
    def in_memory(self) -> bool:
        """Whether there is no file, and so no other process."""
        return self.path == MEMORY

    async def close(self) -> None:
        """Write what is left, and let go of the file."""
        if self._watch is not None:
            await self._watch.close()
        await self.writer.close()
        await asyncio.to_thread(self.reader.close)

    def watch_eagerly(self, eager: bool) -> None:
        """Whether to poll also when nothing has changed, as one who waits for a lock must."""
        if self._watch is not None:
            self._watch.eager = eager

    def _committed(self, batch: Batch) -> None:
        self.changes.tell(None if batch.calls else batch.touched())

    def _polled(self, changed: bool) -> None:
        if changed:
            self.changes.tell()
        if self.on_poll is not None:
            self.on_poll()
