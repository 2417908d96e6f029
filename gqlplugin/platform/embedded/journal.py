"""An open journal: the connections and threads that belong to one file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Self

from gqlplugin.platform.embedded.changes import Changes, find_marks
from gqlplugin.platform.embedded.database import MEMORY, WRITE_ERRORS, JournalFiles, open_writer, unavailable
from gqlplugin.platform.embedded.reader import PooledReader, Reader, WriterReader
from gqlplugin.platform.embedded.writer import Batch, Writer

_POLL_SECONDS = 0.05


class Journal:
    """Made by `Journal.open`, on the event loop that uses it.

    Attributes:
        on_foreign_commit: Told when another process has written to the file.
        on_poll: Told every 50 ms.
    """

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self.files = None if self.in_memory else JournalFiles(path)
        self.writer = Writer(connection, self.files, self._committed, self._foreign_committed)
        self.reader: Reader = WriterReader(self.writer) if self.in_memory else PooledReader(path)
        self.changes = Changes(lambda run_ids: self.reader.read(partial(find_marks, run_ids=run_ids)))
        self.on_foreign_commit: Callable[[], None] | None = None
        self.on_poll: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if not self.in_memory:
            self._poll()

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

    def watch(self, path: str) -> None:
        """Take the journal for lost when another file is deleted or replaced: the lock of the process that executes."""
        if self.files is not None:
            self.files.add(path)

    def unwatch(self, path: str) -> None:
        """Undo `watch`."""
        if self.files is not None:
            self.files.remove(path)

    async def check(self) -> None:
        """Check that it can be read, and was written the last time that it was tried.

        Raises:
            PlatformUnavailableError: It can't.
        """
        if not self.writer.writable.is_set():
            raise unavailable()
        await self.reader.read(lambda connection: connection.execute("SELECT 1 FROM run LIMIT 1").fetchone())

    async def close(self) -> None:
        """Write what is left, and let go of the file."""
        if self._timer is not None:
            self._timer.cancel()
        self.changes.close()
        with suppress(*WRITE_ERRORS):  # logged by the writer; the file is let go of all the same
            await self.writer.close()
        await asyncio.to_thread(self.reader.close)

    def _poll(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._poll)
        self.writer.poll()
        if self.on_poll is not None:
            self.on_poll()

    def _committed(self, batch: Batch) -> None:
        self.changes.tell(batch.touched)

    def _foreign_committed(self) -> None:
        self.changes.tell()
        if self.on_foreign_commit is not None:
            self.on_foreign_commit()
