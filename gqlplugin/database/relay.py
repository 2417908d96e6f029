"""The relay: it starts what an outbox holds, in one process at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import cast

from sqlalchemy import bindparam, delete, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gqlplugin.database.lanes import MAX_HELD, Lanes, Row
from gqlplugin.database.outbox import table
from gqlplugin.database.role import relaying
from gqlplugin.errors import UnsupportedError
from gqlplugin.platform.base import Platform

_logger = logging.getLogger("gqlplugin.outbox")

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
