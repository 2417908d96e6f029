"""The relay: it starts what an outbox holds, in one process at a time and in order per record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol, cast

from sqlalchemy import bindparam, delete, or_, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gqlplugin.database.outbox import table
from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    UnsupportedError,
    contained,
)
from gqlplugin.identity import load_invoker, load_user
from gqlplugin.lock import FileLock, keep_from_children, let_go
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus
from gqlplugin.telemetry import load_trace, starting, within_trace


@asynccontextmanager
async def relaying(connection: AsyncConnection, app: str) -> AsyncIterator[bool]:
    """Take the role unless another process has it, and keep it while entered; says whether it is ours.

    On PostgreSQL it is a lock of the connection's session: whoever works on this connection alone can't go on after
    another process took the role. On SQLite it is an `flock` beside the file. Neither is shared with forked children.
    """
    holding = _holding_in_postgresql if connection.dialect.name == "postgresql" else _holding_beside_sqlite
    async with holding(connection, blake2b(app.encode(), digest_size=8)) as is_ours:
        yield is_ours


@asynccontextmanager
async def _holding_in_postgresql(connection: AsyncConnection, name: blake2b) -> AsyncIterator[bool]:
    key = int.from_bytes(name.digest(), signed=True)
    # the server ends the session, and releases the lock, when no process has the connection open any more
    socket = await _socket_of(connection)
    keep_from_children(socket)
    is_ours = False
    try:
        is_ours = bool(await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}))
        yield is_ours
    finally:
        let_go(socket)
        if is_ours:
            await connection.invalidate()  # the lock ends with the session, whatever became of it


async def _socket_of(connection: AsyncConnection) -> int:
    driver: Any = (await connection.get_raw_connection()).driver_connection
    descriptor: int = driver._transport.get_extra_info("socket").fileno()  # noqa: SLF001 - no public way
    return descriptor


@asynccontextmanager
async def _holding_beside_sqlite(connection: AsyncConnection, name: blake2b) -> AsyncIterator[bool]:
    files = await connection.execute(text("SELECT file FROM pragma_database_list WHERE name = 'main'"))
    path = files.scalar_one()
    if not path:  # in memory, where no other process can be
        yield True
        return
    lock = FileLock(f"{path}.relay-{name.hexdigest()}.lock")
    try:
        yield lock.acquire()
    finally:
        lock.release()


_logger = logging.getLogger("gqlplugin.outbox")

MAX_HELD = 2000
_MAX_WAITING_IN_LANE = 20
_MAX_HELD_FOR_MORE_OF_A_LANE = 1000
_MAX_REMEMBERED = 10_000
_MAX_TRIES = 5
_MAX_REASON = 1000
_FIRST_LOOK_SECONDS = 0.005
_LAST_LOOK_SECONDS = 2.0

_load_user = lru_cache(maxsize=100)(load_user)  # few start most runs: every firing of an executor has the same caller


class Row(Protocol):
    """A row of the outbox."""

    @property
    def seq(self) -> int: ...
    @property
    def run_id(self) -> str: ...
    @property
    def record(self) -> str | None: ...
    @property
    def workflow_name(self) -> str: ...
    @property
    def arg(self) -> str: ...
    @property
    def caller(self) -> str: ...
    @property
    def invoker(self) -> str | None: ...
    @property
    def trace(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of rows since it was last asked for.

    Attributes:
        started: The numbers of the rows whose runs are started.
        refused: The numbers of those that can't be, and why.
        outage: Why the platform could not be asked, if it could not.
    """

    started: list[int]
    refused: dict[int, str]
    outage: Exception | None


class Lanes:
    """Starts rows on a platform. A record has a lane, in which a row waits until what started before it has acted.

    Args:
        platform: Where.
        settled: Called when something has become of a row.

    Attributes:
        held: The numbers of the rows that were taken and not forgotten.
    """

    def __init__(self, platform: Platform, settled: Callable[[], None]) -> None:
        self.held: set[int] = set()
        self._platform = platform
        self._settled = settled
        self._waiting: dict[str, deque[Row]] = {}
        self._last: OrderedDict[str, str] = OrderedDict()
        self._tries: Counter[int] = Counter()
        self._started: list[int] = []
        self._refused: dict[int, str] = {}
        self._outage: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def records(self) -> Collection[str]:
        """The records whose rows wait, or are being started: a later row of theirs is not to be taken yet."""
        return self._waiting.keys()

    def take(self, rows: Iterable[Row]) -> None:
        """Start rows, which come in the order of their numbers; those there is no room for are left."""
        for row in rows:
            waiting = None if row.record is None else self._waiting.get(row.record)
            if waiting is not None:
                if len(waiting) < _MAX_WAITING_IN_LANE and len(self.held) < _MAX_HELD_FOR_MORE_OF_A_LANE:
                    waiting.append(row)
                    self.held.add(row.seq)
            elif len(self.held) < MAX_HELD:
                self.held.add(row.seq)
                if row.record is None:
                    self._spawn(self._start_alone(row))
                else:
                    self._waiting[row.record] = deque([row])
                    self._spawn(self._start_in_turn(row.record, self._waiting[row.record]))

    def settle(self) -> Settled:
        """What became of rows."""
        settled = Settled(self._started, self._refused, self._outage)
        self._started, self._refused, self._outage = [], {}, None
        return settled

    def forget(self, numbers: Iterable[int]) -> None:
        """These rows are no longer in the outbox."""
        self.held.difference_update(numbers)

    async def stop(self) -> None:
        """Give up what was not started yet; it is still in the outbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waiting.clear()
        self.held.clear()
        self.settle()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_alone(self, row: Row) -> None:
        if not await self._start(row):
            self.held.discard(row.seq)
        self._settled()

    async def _start_in_turn(self, record: str, waiting: deque[Row]) -> None:
        while waiting:
            if not await self._start(waiting[0]):
                self.held.difference_update(row.seq for row in waiting)
                break
            waiting.popleft()
            self._settled()
        del self._waiting[record]
        self._settled()

    async def _start(self, row: Row) -> bool:
        """Start a row's run; says whether the row is settled."""
        try:
            last = None if row.record is None else self._last.get(row.record)
            if last is not None and last != row.run_id:
                await self._wait_for(last)
            with within_trace(load_trace(row.trace)), starting(row.workflow_name) as start:
                await self._platform.start_workflow(
                    row.workflow_name,
                    row.arg,
                    caller=_load_user(row.caller),
                    invoker=load_invoker(row.invoker),
                    run_id=row.run_id,
                )
                start.began(row.run_id)
        except BaseException as error:  # of a platform, or of a row that was not written by us
            return self._failed(row, contained(error))
        self._started.append(row.seq)
        self._tries.pop(row.seq, None)
        if row.record is not None:
            self._last[row.record] = row.run_id
            self._last.move_to_end(row.record)
            if len(self._last) > _MAX_REMEMBERED:
                self._last.popitem(last=False)
        return True

    def _failed(self, row: Row, error: Exception) -> bool:
        is_outage = isinstance(error, OutcomeUnknownError | PlatformCredentialsError) or (
            isinstance(error, GqlpluginError) and error.retryable
        )
        if not is_outage and self._is_refused(row, error):
            code, message = (
                (error.code, error.message) if isinstance(error, GqlpluginError) else ("INTERNAL", type(error).__name__)
            )
            _logger.error(
                "Run %s of %s can't be started, and stays in the outbox under seq %d with its error: %s",
                row.run_id,
                row.workflow_name,
                row.seq,
                message,
                exc_info=None if isinstance(error, GqlpluginError) else error,
            )
            self._refused[row.seq] = _storable(f"{code}: {message}")
            self._tries.pop(row.seq, None)
            return True
        self._outage = error
        return False

    def _is_refused(self, row: Row, error: Exception) -> bool:
        if isinstance(error, GqlpluginError) and not isinstance(error, FailedPreconditionError):
            return True
        self._tries[row.seq] += 1  # it may be the row, or something that passes
        return self._tries[row.seq] >= _MAX_TRIES

    async def _wait_for(self, run_id: str) -> None:
        """Wait until a run has acted, so that what runs do is in order too."""
        seconds = _FIRST_LOOK_SECONDS
        while not await self._has_acted(run_id):
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, _LAST_LOOK_SECONDS)

    async def _has_acted(self, run_id: str) -> bool:
        try:
            run = await self._platform.get_execution(run_id)
        except NotFoundError:
            return True  # it ended long ago
        except GqlpluginError:
            return False  # asked again
        return run.status.is_final or run.status is ExecutionStatus.PENDING_RETRY or run.attempt > 0


def _storable(text: str) -> str:
    """A text as any database can keep it: not all take every character that JSON can have."""
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_REASON])


_BATCH = 500
_POLL_SECONDS = 0.5
_SHORTEST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_LOOK_FOR_UNKNOWN_SECONDS = 60.0

_c = table.c
_READ = (
    select(_c.seq, _c.run_id, _c.record, _c.workflow_name, _c.arg, _c.caller, _c.invoker, _c.trace)
    .where(
        _c.app == bindparam("app"),
        _c.error.is_(None),
        _c.workflow_name.in_(bindparam("startable", expanding=True)),
        _c.seq.not_in(bindparam("held", expanding=True)),
        or_(_c.record.is_(None), _c.record.not_in(bindparam("records", expanding=True))),
    )
    .order_by(_c.seq)
    .limit(_BATCH)
)
_UNKNOWN = (
    select(_c.workflow_name)
    .distinct()
    .where(
        _c.app == bindparam("app"),
        _c.error.is_(None),
        _c.workflow_name.not_in(bindparam("startable", expanding=True)),
    )
)
_DELETE = delete(table).where(_c.seq.in_(bindparam("numbers", expanding=True)))
_REFUSE = update(table).where(_c.seq == bindparam("number")).values(error=bindparam("reason"))


class Relay:
    """Starts on a platform what was committed to a database's outbox.

    A row is deleted once its run is durable; a run that was started already is not started again. Rows with the same
    `record` start one after another, each when the run before it has ended or waits for a retry. That wait is
    remembered by the process: it is not observed from the last row of one relay to the first of the next.

    Args:
        engine: The database.
        app: The app whose rows these are. Of the processes that relay them one does, and another when that one dies.
        startable: The workflows that the app has now, firings included. Rows for others stay.
        platform: Where; it is entered.

    Raises:
        UnsupportedError: The database is neither SQLite nor PostgreSQL.
    """

    def __init__(self, engine: AsyncEngine, app: str, startable: Collection[str], platform: Platform) -> None:
        if engine.dialect.name not in ("sqlite", "postgresql"):
            raise UnsupportedError(
                f"The outbox can't be relayed from {engine.dialect.name}: use SQLite or PostgreSQL for this database."
            )
        self._engine = engine
        self._app = app
        self._startable = sorted(startable)
        self._woken = asyncio.Event()
        self._lanes = Lanes(platform, self._woken.set)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = 0.0
        self._unknown: set[str] = set()
        self._look_for_unknown_at = 0.0

    def wake(self) -> None:
        """Something was committed: look at once. May be called from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and with it the relay
                self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Relay, or stand by while another process does, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                await self._take_part()
            except Exception as error:  # whatever a database and its driver can raise
                self._slow_down()
                _logger.error(
                    "The outbox can't be relayed; the next try is in %g s: %s",
                    self._pause,
                    _describe(error),
                    exc_info=None if isinstance(error, DBAPIError | OSError) else error,
                )
                await asyncio.sleep(self._pause)
            else:
                await asyncio.sleep(_POLL_SECONDS)

    async def _take_part(self) -> None:
        """Relay until the connection breaks, if no other process does."""
        async with self._engine.connect() as connection:
            if self._engine.dialect.name == "postgresql":  # where a transaction would stay open for ever
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            async with relaying(connection, self._app) as is_ours:
                if is_ours:
                    _logger.info("This process now relays the outbox of app %r", self._app)
                    try:
                        await self._relay(connection)
                    finally:
                        await self._lanes.stop()

    async def _relay(self, connection: AsyncConnection) -> None:
        while True:
            self._woken.clear()
            outage = await self._settle(connection)
            if outage is not None:
                self._slow_down()
                _logger.warning("Starts wait in the outbox; the next try is in %g s: %s", self._pause, outage)
                await asyncio.sleep(self._pause)
            rows = await self._read(connection)
            self._lanes.take(rows)
            if len(rows) < _BATCH or len(self._lanes.held) >= MAX_HELD:
                await self._wait()
            await self._report_unknown(connection)

    async def _settle(self, connection: AsyncConnection) -> Exception | None:
        """Write down what became of rows; why the platform could not be asked, if it could not."""
        settled = self._lanes.settle()
        if settled.started:
            await connection.execute(_DELETE, {"numbers": settled.started})
            self._pause = 0.0
        if settled.refused:
            await connection.execute(
                _REFUSE, [{"number": seq, "reason": reason} for seq, reason in settled.refused.items()]
            )
        await connection.commit()
        self._lanes.forget((*settled.started, *settled.refused))
        return settled.outage

    async def _read(self, connection: AsyncConnection) -> Sequence[Row]:
        if len(self._lanes.held) >= MAX_HELD:
            return []
        found = await connection.execute(
            _READ,
            {
                "app": self._app,
                "startable": self._startable,
                "held": list(self._lanes.held),
                "records": list(self._lanes.records),
            },
        )
        rows = found.all()
        await connection.commit()
        return cast("Sequence[Row]", rows)

    async def _report_unknown(self, connection: AsyncConnection) -> None:
        if time.monotonic() < self._look_for_unknown_at:
            return
        self._look_for_unknown_at = time.monotonic() + _LOOK_FOR_UNKNOWN_SECONDS
        found = await connection.scalars(_UNKNOWN, {"app": self._app, "startable": self._startable})
        for name in sorted(set(found) - self._unknown):
            self._unknown.add(name)
            _logger.warning("Starts of %s stay in the outbox: app %r has no such workflow or executor", name, self._app)
        await connection.commit()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._woken.wait()

    def _slow_down(self) -> None:
        self._pause = min(max(2 * self._pause, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


def _describe(error: Exception) -> str:
    """What happened, without the SQL and the values that SQLAlchemy adds to it."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return f"{type(cause).__name__}: {cause}"
