"""An open journal, and who is notified when its runs change."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from typing import Any, Self

from gqlplugin.codec import is_unicode
from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.platform.embedded.file import MEMORY, WRITE_ERRORS, JournalFiles, open_writer, unavailable
from gqlplugin.platform.embedded.reader import PooledReader, Reader, WriterReader
from gqlplugin.platform.embedded.writer import Batch, Writer
from gqlplugin.runs import WorkflowExecution
from gqlplugin.tasks import begin, result_of

_logger = logging.getLogger("gqlplugin.embedded")

_RUNS_PER_QUERY = 500
_PAUSE_SECONDS = 0.02

Mark = tuple[Any, ...]
"""What a run and its jobs look like: it differs when one of them has changed."""


class Changes:
    """Tells those who watch runs that these may have changed.

    Args:
        read_marks: Reads what runs look like.
    """

    def __init__(self, read_marks: Callable[[Sequence[str]], Awaitable[Mapping[str, Mark]]]) -> None:
        self._read_marks = read_marks
        self._closed = False
        self._watched: dict[str, Watched] = {}
        self._is_unclear = False
        self._checking: asyncio.Task[None] | None = None

    @contextmanager
    def of(self, run_id: str, read: Callable[[], Awaitable[WorkflowExecution]]) -> Iterator[Watched]:
        """A run, while it is watched; `read` reads it, for all who watch it."""
        watched = self._watched.get(run_id)
        if watched is None:
            watched = self._watched[run_id] = Watched(read)
            watched.closed = self._closed
        watched.watchers += 1
        try:
            yield watched
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                del self._watched[run_id]

    def close(self) -> None:
        """There will be no more changes to be told of: wake everybody up."""
        self._closed = True
        if self._checking is not None:
            self._checking.cancel()
        for watched in self._watched.values():
            watched.closed = True
            watched.change()

    def tell(self, touched: Callable[[], Collection[str] | None] = lambda: None) -> None:
        """Some runs have changed: those that `touched` names when somebody watches, or any."""
        if not self._watched or self._closed:
            return
        run_ids = touched()
        if run_ids is None:
            self._is_unclear = True
            if self._checking is None:
                self._checking = asyncio.get_running_loop().create_task(self._check())
            return
        for run_id in run_ids:
            if run_id in self._watched:
                self._watched[run_id].change()

    async def _check(self) -> None:
        """Find out which runs have changed; again for what came meanwhile, but not in one go."""
        try:
            while self._is_unclear and self._watched:
                self._is_unclear = False
                await self._compare()
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._checking = None

    async def _compare(self) -> None:
        run_ids = list(self._watched)
        try:
            marks = await self._read_marks(run_ids)
        except Exception as error:
            if not isinstance(error, PlatformUnavailableError):  # which was logged where it was raised
                _logger.exception("Runs that are watched could not be compared")
            marks = {}  # all of them are read again; who watches gets the error if that fails too
        for run_id in run_ids:
            watched, mark = self._watched.get(run_id), marks.get(run_id)
            if watched is not None and (mark is None or mark != watched.mark):
                watched.mark = mark
                watched.change()


class Watched:
    """A run that is watched. Its reads have numbers, and one begins when the one before has ended.

    Attributes:
        watchers: How many watch it.
        mark: What it looked like when that was last compared.
        closed: Whether there will be no more changes.
    """

    def __init__(self, read: Callable[[], Awaitable[WorkflowExecution]]) -> None:
        self.watchers = 0
        self.mark: Mark | None = None
        self.closed = False
        self._read = read
        self._begun = 0
        self._wanted = 0
        self._answer: tuple[int, WorkflowExecution | Exception] | None = None
        self._reading: asyncio.Future[None] | None = None
        self._turn = asyncio.Event()

    def change(self) -> None:
        """It may have changed: what was read so far, and what is being read, is too old."""
        self._wanted = self._begun + 1
        self._turn.set()
        self._turn = asyncio.Event()

    async def now(self) -> tuple[int, WorkflowExecution]:
        """The run by a read that begins from now on, and the number of that read."""
        return await self._from(self._begun + 1)

    async def next(self, after: int) -> tuple[int, WorkflowExecution]:
        """The run once it has changed since the read of this number.

        Raises:
            PlatformUnavailableError: There will be no more changes, or the journal can't be read.
        """
        while self._wanted <= after and not self.closed:
            await self._turn.wait()
        if self.closed:
            raise unavailable()
        return await self._from(self._wanted)

    async def _from(self, number: int) -> tuple[int, WorkflowExecution]:
        while self._answer is None or self._answer[0] < number:
            if self._reading is None:
                self._begun += 1
                self._reading = begin(self._look(self._begun))
            await result_of(self._reading)
        begun, answer = self._answer
        if isinstance(answer, Exception):
            raise copy(answer)  # each watcher's own, as raising it adds its traceback
        return begun, answer

    async def _look(self, number: int) -> None:
        try:
            self._answer = number, await self._read()
        except Exception as error:
            self._answer = number, error
        finally:
            self._reading = None


def find_marks(connection: sqlite3.Connection, run_ids: Sequence[str]) -> Mapping[str, Mark]:
    """What runs look like; one that isn't there is left out."""
    marks: dict[str, Mark] = {}
    ids = list(filter(is_unicode, run_ids))
    for first in range(0, len(ids), _RUNS_PER_QUERY):
        part = ids[first : first + _RUNS_PER_QUERY]
        among = f"({', '.join('?' * len(part))})"
        for row in connection.execute(f"{_RUNS} {among}", part):
            marks[row[0]] = row
        # what has ended stays as it is, until it is forgotten
        for query in (f"{_ENDED} {among} GROUP BY run_id", f"{_GOING_ON} {among}"):
            for row in connection.execute(query, part):
                marks[row[0]] = (*marks.get(row[0], ()), *row)
    return marks


_RUNS = "SELECT id, status, attempt, started_at, finished_at, error IS NULL FROM run WHERE id IN"
_ENDED = "SELECT run_id, count(*), max(finished_at) FROM job WHERE run_id IN"
_GOING_ON = (
    "SELECT run_id, place, status, started_at, length(logs), progress FROM job WHERE finished_at IS NULL AND run_id IN"
)


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
