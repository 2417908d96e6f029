"""Deleting what is old enough: finished runs, and idempotency keys."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from datetime import UTC, datetime, timedelta
from functools import partial

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.platform.embedded.rows import to_microseconds
from gqlplugin.platform.embedded.writer import Writer
from gqlplugin.platform.ids import first_uuid7_of

_logger = logging.getLogger("gqlplugin.embedded")

_EVERY_SECONDS = 600.0
_PER_TRANSACTION = 200


async def keep_tidy(writer: Writer, retention: timedelta) -> None:
    """Delete what has expired, now and every ten minutes, a little at a time."""
    while True:
        try:
            more = True
            while more:
                more = await writer.call(partial(delete_expired, retention=retention, now=datetime.now(UTC)))
        except PlatformUnavailableError:
            _logger.warning("Expired runs could not be deleted; the next try is in %s seconds", _EVERY_SECONDS)
        await asyncio.sleep(_EVERY_SECONDS)


def delete_expired(connection: sqlite3.Connection, *, retention: timedelta, now: datetime) -> bool:
    """Delete some of what has expired; whether there may be more.

    A run expires `retention` after its end. The IDs of runs begin with their time of start, so the oldest are found
    without a look at the others.
    """
    limit = now - retention
    connection.execute("DELETE FROM idempotency_key WHERE expires_at <= ?", (to_microseconds(now),))
    rows = connection.execute(
        "SELECT id FROM run WHERE id < ? AND finished_at < ? ORDER BY id LIMIT ?",
        (first_uuid7_of(limit), to_microseconds(limit), _PER_TRANSACTION),
    ).fetchall()
    connection.executemany("DELETE FROM job WHERE run_id = ?", rows)
    connection.executemany("DELETE FROM run WHERE id = ?", rows)
    return len(rows) == _PER_TRANSACTION
