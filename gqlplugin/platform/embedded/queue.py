"""How many runs of one file wait."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime

from gqlplugin.platform.embedded.rows import to_microseconds


def count_queued(connection: sqlite3.Connection, *, active: Collection[str], now: datetime) -> Mapping[str, int]:
    """How many runs are due and have not begun, by workflow."""
    due_at = to_microseconds(now)
    due = Counter(dict(connection.execute(f"{_COUNT} GROUP BY workflow_name", (due_at,)).fetchall()))
    # subtracted, so that the many are counted along their index
    begun = connection.execute(f"{_COUNT} AND {_AMONG} GROUP BY workflow_name", (due_at, json.dumps(list(active))))
    due.subtract(dict(begun.fetchall()))
    return due


_COUNT = "SELECT workflow_name, count(*) FROM run WHERE due_at <= ?"
_AMONG = "id IN (SELECT value FROM json_each(?))"
