"""Deleting what is old enough: finished runs, and idempotency keys."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from gqlplugin.platform.base import first_uuid7_of
from gqlplugin.platform.embedded.file import WRITE_ERRORS
from gqlplugin.platform.embedded.rows import from_microseconds, to_microseconds
from gqlplugin.platform.embedded.writer import Writer

_logger = logging.getLogger("gqlplugin.embedded")

_EVERY_SECONDS = 600.0
_PER_TRANSACTION = 200
_JUMP = timedelta(hours=1)
_BELIEVED_AFTER = timedelta(days=1)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ExpiryClock:
    """The time by which things expire. A clock that jumped ahead may be wrong, and is believed after a day.

    Args:
        newest: The time of the newest record, if it is known: a clock that is far ahead of it has jumped.
        now: What the clock says.
        elapsed: Seconds, by a clock that nobody sets.
    """

    def __init__(
        self,
        newest: datetime | None,
        now: Callable[[], datetime] = _utc_now,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._elapsed = elapsed
        self._believed = now() if newest is None else min(newest, now())
        self._looked = elapsed()
        self._jumped: float | None = None

    def __call__(self) -> datetime:
        """The time now."""
        said, looked = self._now(), self._elapsed()
        steady = self._believed + timedelta(seconds=looked - self._looked)
        if said <= steady + _JUMP:
            self._jumped = None
        elif self._jumped is None:
            self._jumped = looked
            _logger.info("The clock is %s ahead of what was known: for a day nothing expires by it", said - steady)
        elif looked - self._jumped >= _BELIEVED_AFTER.total_seconds():
            self._jumped = None
        self._believed, self._looked = (said if self._jumped is None else steady), looked
        return self._believed


async def keep_tidy(writer: Writer, retention: timedelta, clock: ExpiryClock) -> None:
    """Delete what has expired, now and every ten minutes, a little at a time."""
    while True:
        try:
            await writer.call(partial(restart_expiry, now=datetime.now(UTC)))
            now = clock()
            more = True
            while more:
                more = await writer.call(partial(delete_expired, retention=retention, now=now))
        except WRITE_ERRORS:
            _logger.warning("Expired runs could not be deleted; the next try is in %s seconds", _EVERY_SECONDS)
        await asyncio.sleep(_EVERY_SECONDS)


def find_newest(connection: sqlite3.Connection) -> datetime | None:
    """When the newest run was started, if there is one."""
    found = connection.execute("SELECT created_at FROM run ORDER BY seq DESC LIMIT 1").fetchone()
    return None if found is None else from_microseconds(found[0])


def restart_expiry(connection: sqlite3.Connection, *, now: datetime) -> None:
    """Let what was written while the clock was ahead expire in its own time from now on."""
    moment = {"now": to_microseconds(now), "id": first_uuid7_of(now)}
    connection.execute(
        "UPDATE idempotency_key SET expires_at = expires_at - kept_since + :now, kept_since = :now "
        "WHERE kept_since > :now",
        moment,
    )
    connection.execute("UPDATE run SET finished_at = :now WHERE id > :id AND finished_at > :now", moment)


def delete_expired(connection: sqlite3.Connection, *, retention: timedelta, now: datetime) -> bool:
    """Delete some of what has expired; whether there may be more.

    A run expires `retention` after its end. The IDs of runs begin with their time of start, so the oldest are found
    without a look at the others, and so are those that were started while the clock was ahead.
    """
    limit = now - retention
    connection.execute("DELETE FROM idempotency_key WHERE expires_at <= ?", (to_microseconds(now),))
    rows = connection.execute(
        "SELECT id FROM run WHERE (id < ? OR id > ?) AND finished_at < ? LIMIT ?",
        (first_uuid7_of(limit), first_uuid7_of(now), to_microseconds(limit), _PER_TRANSACTION),
    ).fetchall()
    connection.executemany("DELETE FROM job WHERE run_id = ?", rows)
    connection.executemany("DELETE FROM run WHERE id = ?", rows)
    return len(rows) == _PER_TRANSACTION
