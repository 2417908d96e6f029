"""The one thread that writes the journal, and the batches it commits.

Whatever tasks want to write between two turns of the event loop goes into one batch, and a batch is one transaction:
group commit. The loop hands a batch over when the previous one is durable, so that batches grow under load.

When the file can't be written, what callers ask for fails at once, and what runs recorded is kept and written again
until it is durable: its effects have happened, and running a job again would repeat them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from enum import Enum, auto
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from gqlplugin.errors import InvalidInputError, OutcomeUnknownError, PlatformUnavailableError
from gqlplugin.platform.embedded.file import (
    BUSY_TIMEOUT_SECONDS,
    MEMORY,
    JournalFiles,
    JournalLostError,
    is_damage,
    may_have_committed,
    touch,
    unavailable,
    will_pass,
)
from gqlplugin.platform.embedded.rows import JOB_COLUMNS, RUN_COLUMNS, STATE_COLUMNS, Row
from gqlplugin.platform.replay import RunInterrupted
from gqlplugin.platform.threads import settle
from gqlplugin.tasks import begin

R = TypeVar("R")

_logger = logging.getLogger("gqlplugin.embedded")

_ROWS_PER_STATEMENT = 200
_SHORT_PATIENCE_SECONDS = 0.1
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_CALM_SECONDS = 10.0  # trouble that comes back within this time begins with the pause it had


_REFUSALS = (sqlite3.Error, ValueError, OverflowError)  # of a value; others are faults of ours


class RowRefusedError(RunInterrupted):
    """SQLite refuses what a run recorded, whenever it is written: the run can't go on."""


class _Call(NamedTuple):
    function: Callable[[sqlite3.Connection], Any]
    result: asyncio.Future[Any]
    then: Callable[[Any], None] | None
    writes: bool


class Part:
    """What is written together or not at all.

    A later row for the same job, or state of the run, replaces an earlier one.

    Args:
        run_id: The run that recorded it; None when a caller asks for it.
    """

    __slots__ = ("calls", "jobs", "run_id", "runs", "state", "thens", "waiters")

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id
        # tuples, most of them empty: a list of each would be one more thing for the garbage collector to visit
        self.runs: tuple[Row, ...] = ()
        self.state: Row | None = None
        self.jobs: dict[str, Row] = {}
        self.calls: tuple[_Call, ...] = ()
        self.thens: tuple[Callable[[], None], ...] = ()
        self.waiters: tuple[asyncio.Future[None], ...] = ()

    def insert_runs(self, rows: Iterable[Row], then: Callable[[], None]) -> None:
        """Add runs, and what to do on the loop once they are durable, whoever still waits for them by then."""
        self.runs += tuple(rows)
        self.thens += (then,)

    def put_job(self, row: Row) -> None:
        """Add a job, new or changed."""
        self.jobs[row[1]] = row

    def add(self, later: Part) -> None:
        """Add what the same run recorded later."""
        self.runs += later.runs
        self.state = later.state or self.state
        self.jobs.update(later.jobs)
        self.calls += later.calls
        self.thens += later.thens
        self.waiters += later.waiters

    @property
    def writes(self) -> bool:
        """Whether it takes a transaction."""
        return bool(self.runs or self.jobs or self.calls or self.state is not None)

    def succeed(self, results: Sequence[Any]) -> None:
        """It is durable."""
        for waiter in self.waiters:
            settle(waiter, None, None)
        for call, result in zip(self.calls, results, strict=True):
            failure = result if isinstance(result, Exception) else None
            settle(call.result, result, failure)
            if failure is None and call.then is not None:
                _notify(call.then, result)
        for then in self.thens:
            _notify(then)

    def fail(self, error: BaseException) -> None:
        """It is not written, and will not be."""
        for future in (*self.waiters, *(call.result for call in self.calls)):
            settle(future, None, error)


class Batch:
    """What one transaction writes."""

    __slots__ = ("asked", "polls", "recorded")

    def __init__(self) -> None:
        self.recorded: dict[str, Part] = {}
        self.asked: list[Part] = []
        self.polls = False

    def parts(self) -> list[Part]:
        """All that is to be written, or waited for."""
        return [*self.recorded.values(), *self.asked]

    def is_empty(self) -> bool:
        """Whether there is nothing to write and nobody to tell."""
        return not (self.recorded or self.asked or self.polls)

    def keep(self, earlier: Part, run_id: str) -> None:
        """Take over what a run recorded in an earlier batch, which could not be written."""
        if run_id in self.recorded:
            earlier.add(self.recorded[run_id])
        self.recorded[run_id] = earlier

    def touched(self) -> set[str] | None:
        """The runs it changes; None when that can't be told."""
        if any(call.writes for part in self.parts() for call in part.calls):
            return None
        return {run_id for run_id, part in self.recorded.items() if part.jobs or part.state is not None}


class Writer:
    """Commits batches on a thread of its own. Its methods belong to the event loop it was made on.

    Args:
        connection: Used by the thread alone from here on.
        files: The journal's files; None when it is in memory.
        on_commit: Called on the loop after each commit.
        on_foreign_commit: Called on the loop when another process has written to the file.

    Attributes:
        writable: Set while the file can be written, as far as is known.
        lost: Whether the file is gone, and nothing is written any more.
        on_writable: Called when the file can be written again.
        on_lost: Called when the file is gone.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        files: JournalFiles | None,
        on_commit: Callable[[Batch], None],
        on_foreign_commit: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._files = files
        self._on_commit = on_commit
        self._on_foreign_commit = on_foreign_commit
        self._version: int | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._batch = Batch()
        self._busy = False
        self._flush_scheduled = False
        self._tried: list[asyncio.Future[None]] = []
        self._pause = _FIRST_PAUSE_SECONDS
        self._unwritable_since = 0.0
        self._written_again = -_CALM_SECONDS
        self._is_impatient = False  # for the thread
        self._retrying: asyncio.TimerHandle | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.lost = False
        self.on_writable: Callable[[], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._handed_over: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="gqlplugin-writer", daemon=True)
        self._thread.start()

    def recorded(self, run_id: str) -> Part:
        """What a run records in the next transaction: it is kept until it is durable."""
        part = self._batch.recorded.get(run_id)
        if part is None:
            part = self._batch.recorded[run_id] = Part(run_id)
        return part

    def put_state(self, row: Row) -> None:
        """Add what changed of a run that runs here; when it does so no longer, it is left as it is."""
        self.recorded(row[0]).state = row

    def put_job(self, row: Row) -> None:
        """Add a job, new or changed."""
        self.recorded(row[0]).jobs[row[1]] = row

    def commit(self, part: Part) -> asyncio.Future[None]:
        """A future that is done when a part, and everything added before it, is durable.

        Raises:
            PlatformUnavailableError: The file can't be written; nothing of the part was. What a run recorded raises it
                only when it is given up, at the end of the process.
            OutcomeUnknownError: The same, and whether it was written is not known before the file is opened again.
            RowRefusedError: SQLite refuses what a run recorded.
            InvalidInputError: SQLite refuses what a caller asks for.
        """
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._closed or self.lost:
            waiter.set_exception(unavailable())
            return waiter
        part.waiters += (waiter,)
        if part.run_id is None:
            self._batch.asked.append(part)
        self.flush()
        return waiter

    def call(
        self,
        function: Callable[[sqlite3.Connection], R],
        then: Callable[[R], None] | None = None,
        *,
        writes: bool = True,
        part: Part | None = None,
    ) -> asyncio.Future[R]:
        """Run a function within the next transaction; the future has its result once that is durable.

        The function must check before it writes: an error of its own does not roll back what it wrote. It may be called
        again, after a transaction that was rolled back. `then` gets the result on the loop, whoever still waits for the
        future by then. The errors are those of `commit`.
        """
        result: asyncio.Future[R] = self._loop.create_future()
        part = Part() if part is None else part
        if self._closed or self.lost:
            result.set_exception(unavailable())
            return result
        part.calls += (_Call(function, result, then, writes),)
        if part.run_id is None:
            self._batch.asked.append(part)
        self.flush()
        return result

    def poll(self) -> None:
        """Look whether another process has written to the file, and whether the file is still there."""
        if not (self._closed or self.lost):
            self._batch.polls = True
            self.flush()

    def flush(self) -> None:
        """Hand the batch over at the end of this turn of the loop, or when the previous one is durable.

        While the file can't be written, only what a caller asks for is tried before it is time to try again.
        """
        if not self._busy and not self._flush_scheduled and (self.writable.is_set() or self._batch.asked):
            self._flush_scheduled = True
            self._loop.call_soon(self._hand_over)

    async def give_up(self) -> None:
        """Write what runs recorded, and drop what can't be written: another process may go on with the runs then."""
        with suppress(PlatformUnavailableError, OutcomeUnknownError):
            await self.commit(Part())
            return
        self._drop(self._batch.recorded.values())
        self._batch.recorded.clear()

    async def close(self) -> None:
        """Write what is left, end the thread and close the connection."""
        last = self.commit(Part())
        self._closed = True
        try:
            await last
        finally:
            while self._busy:
                await self._next_try()
            if self._retrying is not None:
                self._retrying.cancel()
            self._drop(self._batch.parts())
            self._handed_over.put(None)
            await asyncio.to_thread(self._thread.join)

    def _next_try(self) -> asyncio.Future[None]:
        tried: asyncio.Future[None] = self._loop.create_future()
        self._tried.append(tried)
        return tried

    def _drop(self, parts: Iterable[Part]) -> None:
        for part in parts:
            part.fail(unavailable())

    def _hand_over(self) -> None:
        self._flush_scheduled = False
        if not self._busy and not self._batch.is_empty():
            batch, self._batch = self._batch, Batch()
            if not self.writable.is_set():
                batch.asked.append(self._probe())
            self._busy = True
            self._handed_over.put(batch)

    def _done(self, batch: Batch, parts: list[Part], outcomes: list[_Outcome], polled: int | _Trouble | None) -> None:
        self._busy = False
        trouble = self._settle(parts, outcomes) or (polled if isinstance(polled, _Trouble) else None)
        if trouble is not None:
            self._suspend(trouble)
        elif parts and not self.writable.is_set():
            self._resume()
        if any(not isinstance(outcome, _Trouble) for outcome in outcomes):
            _notify(self._on_commit, batch)
        if isinstance(polled, int) and polled != self._version:
            self._version = polled
            _notify(self._on_foreign_commit)
        tried, self._tried = self._tried, []
        for future in tried:
            settle(future, None, None)
        if not self._batch.is_empty():
            self.flush()

    def _settle(self, parts: list[Part], outcomes: list[_Outcome]) -> _Trouble | None:
        """Tell those who wait; the trouble that there is with the file, if any."""
        trouble = None
        for part, outcome in zip(parts, outcomes, strict=True):
            if not isinstance(outcome, _Trouble):
                part.succeed(outcome)
                continue
            if outcome.kind is not _Kind.REFUSED:
                trouble = outcome
            if outcome.kind is _Kind.PASSES and part.run_id is not None:
                self._batch.keep(part, part.run_id)
            else:
                part.fail(outcome.error_for(part))
        return trouble

    def _suspend(self, trouble: _Trouble) -> None:
        """The file can't be written: fail what callers ask for, and try again what runs recorded."""
        self._drop(self._batch.asked)
        self._batch.asked.clear()
        if trouble.kind is _Kind.LOST:
            self._lose(trouble)
            return
        now = time.monotonic()
        if self.writable.is_set():
            self.writable.clear()
            self._unwritable_since = now
            if now - self._written_again > _CALM_SECONDS:
                self._pause = _FIRST_PAUSE_SECONDS
            _logger.error(
                "The journal %s can't be written: %s. Until it can, starts fail, no job begins, and the outcomes of "
                "jobs that run are kept and written again",
                self._path,
                trouble,
            )
        if self._retrying is not None:
            self._retrying.cancel()
        self._retrying = self._loop.call_later(self._pause, self._retry)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    def _retry(self) -> None:
        """Try to write what is kept, or nothing."""
        self._retrying = None
        self._batch.polls = True
        self._hand_over()

    def _probe(self) -> Part:
        """What has SQLite write, whatever else there is: all of that may only read."""
        probe = Part()
        probe.calls = (_Call(touch, begin(self._loop.create_future()), None, writes=False),)
        return probe

    def _resume(self) -> None:
        self._written_again = time.monotonic()
        _logger.warning(
            "The journal %s can be written again, after %.1f seconds",
            self._path,
            self._written_again - self._unwritable_since,
        )
        if self._retrying is not None:
            self._retrying.cancel()
        self.writable.set()
        if self.on_writable is not None:
            _notify(self.on_writable)

    def _lose(self, trouble: _Trouble) -> None:
        """The file is gone, or another one: what is written to it would not be found again."""
        self.lost = True
        self.writable.clear()
        self._drop(self._batch.recorded.values())
        self._batch.recorded.clear()
        _logger.critical(
            "The journal %s is lost to this process: %s. It starts and executes nothing more: restart it once the "
            "file is put right",
            self._path,
            trouble,
        )
        if self.on_lost is not None:
            _notify(self.on_lost)

    @property
    def _path(self) -> str:
        return MEMORY if self._files is None else self._files.path

    def _work(self) -> None:
        while (batch := self._handed_over.get()) is not None:
            parts = batch.parts()
            outcomes: list[_Outcome] = [()] * len(parts)
            if any(part.writes for part in parts):
                outcomes = self._write(parts)
            polled = self._poll() if batch.polls else None
            try:
                self._loop.call_soon_threadsafe(self._done, batch, parts, outcomes, polled)
            except RuntimeError:  # the loop was closed under us: nobody is left to be told
                break
        self._connection.close()

    def _write(self, parts: list[Part]) -> list[_Outcome]:
        """Write parts in one transaction, or, when SQLite refuses one of them, the others in a few."""
        try:
            outcomes = _commit(self._connection, parts, self._files)
            if self._is_impatient:
                self._set_patience(BUSY_TIMEOUT_SECONDS)
            return outcomes
        except BaseException as error:  # whatever it is: without this thread nothing is ever written again
            trouble = _Trouble.of(error)
        if trouble.kind is _Kind.REFUSED and len(parts) > 1:
            middle = len(parts) // 2
            return self._write(parts[:middle]) + self._write(parts[middle:])
        if trouble.kind is _Kind.REFUSED:
            what = "what a caller asks for" if parts[0].run_id is None else f"what run {parts[0].run_id} recorded"
            _logger.error("The journal %s refuses %s", self._path, what, exc_info=trouble.error)
        else:
            self._set_patience(_SHORT_PATIENCE_SECONDS)
        return [self._looked_into(trouble)] * len(parts)

    def _set_patience(self, seconds: float) -> None:
        """For how long SQLite waits for a lock: not long once it was in vain, as callers wait for the answer."""
        self._is_impatient = seconds < BUSY_TIMEOUT_SECONDS
        with suppress(sqlite3.Error):
            self._connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def _looked_into(self, trouble: _Trouble) -> _Trouble:
        """What is known once the files were looked at, and what a failed commit may have left was overwritten."""
        try:
            if self._files is not None:
                self._files.check(self._connection)
            if trouble.is_unknown:
                touch(self._connection)
        except JournalLostError as error:
            return _Trouble.of(error)._replace(is_unknown=trouble.is_unknown)
        except sqlite3.Error:
            return trouble
        return trouble._replace(is_unknown=False)

    def _poll(self) -> int | _Trouble | None:
        """A number that changes with the commits of other connections, and not with those of this one."""
        try:
            if self._files is not None:
                self._files.check(self._connection)
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except JournalLostError as error:
            return _Trouble.of(error)
        except Exception:
            _logger.exception("The journal %s can't be polled", self._path)
            return None


class _Kind(Enum):
    PASSES = auto()  # as when the disk is full: it can be written later
    LOST = auto()
    REFUSED = auto()


class _Trouble(NamedTuple):
    """Why something was not written.

    Attributes:
        is_unknown: Whether it may be found when the file is opened again, after a crash: SQLite has written it, and
            could not make sure that it is on the disk.
    """

    error: BaseException
    kind: _Kind
    is_unknown: bool = False

    @classmethod
    def of(cls, error: BaseException) -> _Trouble:
        if isinstance(error, _CommitFailedError):
            return cls.of(error.error)._replace(is_unknown=may_have_committed(error.error))
        if isinstance(error, JournalLostError) or is_damage(error):
            return cls(error, _Kind.LOST)
        return cls(error, _Kind.PASSES if will_pass(error) else _Kind.REFUSED)

    def __str__(self) -> str:
        name = getattr(self.error, "sqlite_errorname", None)
        return str(self.error) if name is None else f"{self.error} ({name})"

    def error_for(self, part: Part) -> BaseException:
        """What those get who wait for a part."""
        error: BaseException
        if self.is_unknown:
            error = OutcomeUnknownError()
        elif self.kind is not _Kind.REFUSED or (part.run_id is None and not isinstance(self.error, _REFUSALS)):
            error = unavailable()
        elif part.run_id is None:
            error = InvalidInputError("The workflow journal can't keep this: it is too large, or no text.")
        else:
            error = RowRefusedError(f"{type(self.error).__name__}: {self.error}")
        error.__cause__ = self.error
        return error


_Outcome = Sequence[Any] | _Trouble
"""The results of a part's calls, or why it was not written."""


class _CommitFailedError(Exception):
    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


def _notify(listener: Callable[..., None], *args: Any) -> None:
    """Call a listener; when it fails, the others are still called."""
    try:
        listener(*args)
    except Exception:
        _logger.exception("What follows a transaction failed")


def insert_run(connection: sqlite3.Connection, row: Row) -> None:
    """Insert a run within a `Writer.call`."""
    _insert(connection, _INSERT_RUN, [row])


def insert_new_run(connection: sqlite3.Connection, row: Row) -> bool:
    """Insert a run within a `Writer.call` unless there is one with its ID; whether it was inserted."""
    return connection.execute(_INSERT_NEW_RUN, row).rowcount == 1


def put_job(connection: sqlite3.Connection, row: Row) -> None:
    """Write a job, new or changed, within a `Writer.call`."""
    _insert(connection, _INSERT_JOB, [row], _REPLACE_JOB)


def _commit(connection: sqlite3.Connection, parts: Sequence[Part], files: JournalFiles | None) -> list[_Outcome]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        _insert(connection, _INSERT_RUN, [row for part in parts for row in part.runs])
        states = [part.state for part in parts if part.state is not None]
        _insert(connection, _UPDATE_STATE, states, _UPDATE_STATE_END)
        _insert(connection, _INSERT_JOB, [row for part in parts for row in part.jobs.values()], _REPLACE_JOB)
        results: list[_Outcome] = [
            [_try(connection, call.function) for call in part.calls] if part.calls else () for part in parts
        ]
        if files is not None:
            files.check(connection)
        _end(connection)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _end(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise _CommitFailedError(error) from error


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
