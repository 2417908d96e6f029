"""How connections to SQLite behave: as those to PostgreSQL do, where they can."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

BUSY_TIMEOUT_SECONDS: Final = 10.0
_RETRY_SECONDS = 0.01

_READS = ("SELECT", "VALUES", "PRAGMA", "EXPLAIN", "VACUUM", "ATTACH", "DETACH", "ANALYZE")


def prepare(engine: AsyncEngine) -> None:
    """Set up every connection that an engine makes.

    Foreign keys are enforced, and who waits for another's write lock does so for ten seconds. A transaction begins with
    its first write, and is then the only one that writes: what it read before may have changed since, as on PostgreSQL
    under READ COMMITTED. To begin with the first read would be to fail when another has written in between.
    """
    event.listen(engine.sync_engine, "connect", _connected)
    event.listen(engine.sync_engine, "before_cursor_execute", _begin)


def _connected(connection: Any, record: object) -> None:
    del record
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(  # noqa: PLR0917 - as SQLAlchemy calls it
    connection: Connection,
    cursor: DBAPICursor,
    statement: str,
    parameters: object,
    context: ExecutionContext | None,
    executemany: bool,
) -> None:
    del parameters, executemany
    if connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]  # of sqlite3, through aiosqlite
        return
    # the driver itself begins before some statements only, and not before SAVEPOINT, whose release then commits
    if not _only_reads(statement, context) and not _is_autocommit(connection):
        cursor.execute("BEGIN IMMEDIATE")


def _only_reads(statement: str, context: ExecutionContext | None) -> bool:
    start = statement.lstrip()[:8].upper()
    if start.startswith("WITH"):
        invoked = None if context is None else context.invoked_statement
        return invoked is not None and invoked.is_select
    return start.startswith(_READS)


def _is_autocommit(connection: Connection) -> bool:
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


async def enter_wal(engine: AsyncEngine) -> None:
    """Switch the file to WAL mode, in which readers and a writer don't wait for each other; the file stays so."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            async with engine.connect() as connection:
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        except OperationalError as error:
            # SQLite does not wait by itself for another process that is opening the file
            if not _is_busy(error.orig) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def _is_busy(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, sqlite3.OperationalError):
            return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
        error = error.__cause__
    return False
