"""Which process relays an app's outbox: one at a time, and none that has died."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gqlplugin.lock import FileLock, keep_from_children, let_go


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
