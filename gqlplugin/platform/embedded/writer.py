"""The one thread that writes the journal, and the batches it commits.

Whatever tasks want to write between two turns of the event loop goes into one batch, and a batch is one transaction:
group commit. The loop hands a batch over when the previous one is durable, so that batches grow under load.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, TypeVar

from gqlplugin.platform.embedded.database import unavailable
from gqlplugin.platform.embedded.rows import JOB_COLUMNS, RUN_COLUMNS, STATE_COLUMNS, Row
from gqlplugin.platform.threads import settle

R = TypeVar("R")

_logger = logging.getLogger("gqlplugin.embedded")

_ROWS_PER_STATEMENT = 200


class Batch:
    """What one transaction writes. A later row for the same run or job replaces an earlier one."""

    __slots__ = ("calls", "jobs", "may_touch_any", "polls", "runs", "states", "thens", "waiters")

    def __init__(self) -> None:
        self.runs: list[Row] = []
        self.states: dict[str, Row] = {}
        self.jobs: dict[tuple[str, str], Row] = {}
        self.calls: list[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = []
        self.thens: list[Callable[[Sequence[Any]], None]] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.polls = False
        self.may_touch_any = False

    def is_empty(self) -> bool:
        """Whether there is nothing to write and nobody to tell."""
        return not (self.writes() or self.waiters or self.polls)

    def writes(self) -> bool:
        """Whether it takes a transaction."""
        return bool(self.runs or self.states or self.jobs or self.calls)

    def touched(self) -> set[str] | None:
        """The runs it changes; None when that can't be told."""
        return None if self.may_touch_any else {*self.states, *(run_id for run_id, _ in self.jobs)}


class Writer:
    """Commits batches on a thread of its own. Its methods belong to the event loop it was made on.

    Args:
        connection: Used by the thread alone from here on.
        on_commit: Called on the loop after each commit.
        on_foreign_commit: Called on the loop when another process has written to the file.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        on_commit: Callable[[Batch], None],
        on_foreign_commit: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._on_commit = on_commit
        self._on_foreign_commit = on_foreign_commit
        self._version: int | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._batch = Batch()
        self._busy = False
        self._flush_scheduled = False
        self._handed_over: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="gqlplugin-writer", daemon=True)
        self._thread.start()

    def insert_run(self, row: Row) -> None:
        """Add a run to the next transaction."""
        self._batch.runs.append(row)

    def then(self, action: Callable[[], None]) -> None:
        """Do something on the loop once the next transaction is durable, whoever still waits for it by then."""
        self._batch.thens.append(lambda _: action())

    def put_state(self, row: Row) -> None:
        """Add what changed of a run that runs here; when it does so no longer, it is left as it is."""
        self._batch.states[row[0]] = row

    def put_job(self, row: Row) -> None:
        """Add a job, new or changed."""
        self._batch.jobs[row[0], row[1]] = row

    def commit(self) -> asyncio.Future[None]:
        """A future that is done when everything added so far is durable.

        It raises `PlatformUnavailableError` when the transaction failed; then nothing of it was written.
        """
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._closed:
            waiter.set_exception(unavailable())
            return waiter
        self._batch.waiters.append(waiter)
        self.flush()
        return waiter

    def call(
        self,
        function: Callable[[sqlite3.Connection], R],
        then: Callable[[R], None] | None = None,
        *,
        writes: bool = True,
    ) -> asyncio.Future[R]:
        """Run a function within the next transaction; the future has its result once that is durable.

        The function must check before it writes: an error of its own does not roll back what it wrote. `then` gets the
        result on the loop, whoever still waits for the future by then.
        """
        result: asyncio.Future[R] = self._loop.create_future()
        if self._closed:
            result.set_exception(unavailable())
            return result
        if then is not None:
            index = len(self._batch.calls)
            self._batch.thens.append(lambda results: _tell(then, results[index]))
        self._batch.calls.append((function, result))
        self._batch.may_touch_any |= writes
        self.flush()
        return result

    def poll(self) -> None:
        """Look whether another process has written to the file."""
        if not self._closed:
            self._batch.polls = True
            self.flush()

    def flush(self) -> None:
        """Hand the batch over at the end of this turn of the loop, or when the previous one is durable."""
        if not self._busy and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._hand_over)

    async def close(self) -> None:
        """Write what is left, end the thread and close the connection."""
        last = self.commit()
        self._closed = True
        try:
            await last
        finally:
            self._handed_over.put(None)
            await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        self._flush_scheduled = False
        if not self._batch.is_empty():
            batch, self._batch = self._batch, Batch()
            self._busy = True
            self._handed_over.put(batch)

    def _done(self, batch: Batch, results: Sequence[Any], error: Exception | None, version: int | None) -> None:
        self._busy = False
        for waiter in batch.waiters:
            settle(waiter, None, error)
        for (_, future), result in zip(batch.calls, results, strict=True):
            failure = error or (result if isinstance(result, Exception) else None)
            settle(future, result, failure)
        if error is None:
            for then in batch.thens:
                _notify(then, results)
            _notify(self._on_commit, batch)
        if batch.polls and version != self._version:
            self._version = version
            _notify(self._on_foreign_commit)
        if not self._batch.is_empty():
            self.flush()

    def _work(self) -> None:
        while (batch := self._handed_over.get()) is not None:
            results: list[Any] = [None] * len(batch.calls)
            error: Exception | None = None
            try:
                if batch.writes():
                    results = _write(self._connection, batch)
            except BaseException as failure:  # whatever it is: without this thread nothing is ever written again
                _logger.exception("A transaction of %d runs and %d jobs failed", len(batch.runs), len(batch.jobs))
                error = unavailable().with_traceback(None)
                error.__cause__ = failure
            try:
                version = self._data_version() if batch.polls else None
                self._loop.call_soon_threadsafe(self._done, batch, results, error, version)
            except RuntimeError:  # the loop was closed under us: nobody is left to be told
                break
        self._connection.close()

    def _data_version(self) -> int | None:
        """A number that changes with the commits of other connections, and not with those of this one."""
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except Exception:
            _logger.exception("The journal can't be polled")
            return None


def _notify(listener: Callable[..., None], *args: Any) -> None:
    """Call a listener; when it fails, the others are still called."""
    try:
        listener(*args)
    except Exception:
        _logger.exception("What follows a transaction failed")


def _tell(then: Callable[[Any], None], result: Any) -> None:
    if not isinstance(result, Exception):
        then(result)


def insert_run(connection: sqlite3.Connection, row: Row) -> None:
    """Insert a run within a `Writer.call`."""
    _insert(connection, _INSERT_RUN, [row])


def insert_new_run(connection: sqlite3.Connection, row: Row) -> bool:
    """Insert a run within a `Writer.call` unless there is one with its ID; whether it was inserted."""
    return connection.execute(_INSERT_NEW_RUN, row).rowcount == 1


def put_job(connection: sqlite3.Connection, row: Row) -> None:
    """Write a job, new or changed, within a `Writer.call`."""
    _insert(connection, _INSERT_JOB, [row], _REPLACE_JOB)


def _write(connection: sqlite3.Connection, batch: Batch) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        _insert(connection, _INSERT_RUN, batch.runs)
        _insert(connection, _UPDATE_STATE, batch.states.values(), _UPDATE_STATE_END)
        _insert(connection, _INSERT_JOB, batch.jobs.values(), _REPLACE_JOB)
        results = [_try(connection, function) for function, _ in batch.calls]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _try(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], Any]) -> Any:
    try:
        return function(connection)
    except sqlite3.Error:
        raise
    except Exception as error:
        return error


_INSERT_RUN = f"INSERT INTO run ({RUN_COLUMNS}) VALUES "  # noqa: S608 - our own words
_INSERT_NEW_RUN = f"{_INSERT_RUN}({', '.join('?' * len(RUN_COLUMNS.split(', ')))}) ON CONFLICT (id) DO NOTHING"
_INSERT_JOB = f"INSERT INTO job ({JOB_COLUMNS}) VALUES "  # noqa: S608 - our own words

_UPDATE_STATE = (
    "UPDATE run SET "  # noqa: S608 - our own words
    + ", ".join(f"{name} = new.column{index}" for index, name in enumerate(STATE_COLUMNS.split(", "), 1) if index > 1)
    + " FROM (VALUES "
)
# not over a run that another process has canceled, or that was resumed since
_UPDATE_STATE_END = ") AS new WHERE run.id = new.column1 AND run.status IN ('PENDING', 'RUNNING')"

_REPLACE_JOB = " ON CONFLICT (run_id, place) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in JOB_COLUMNS.split(", ")[2:]
)


def _insert(connection: sqlite3.Connection, head: str, rows: Iterable[Row], tail: str = "") -> None:
    """Write rows with as few statements as possible: each one costs the event loop a change of threads."""
    for part in _parts(rows):
        row = f"({', '.join('?' * len(part[0]))})"
        connection.execute(head + ", ".join([row] * len(part)) + tail, list(chain.from_iterable(part)))


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while part := list(islice(iterator, _ROWS_PER_STATEMENT)):
        yield part
