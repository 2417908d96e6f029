"""Files of earlier versions: brought to this one in place, with all that is in them."""

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, closing
from importlib.resources import files
from pathlib import Path

import pytest

from gqlplugin.platform.base import uuid7
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.file import APPLICATION_ID, SCHEMA_VERSION, SCHEMAS
from gqlplugin.runs import ExecutionStatus
from tests.contract.support import all_runs, output_of
from tests.platform.embedded.support import ALICE, executing, query, who

pytestmark = pytest.mark.anyio

VERSION_1 = Path(__file__).with_name("journal_1.sql")


def make_version_1(path: Path) -> str:
    """A journal as the first version made it, with a run that waits; the run's ID."""
    run_id = uuid7()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(VERSION_1.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO run (id, workflow_name, status, caller_id, caller, input, attempt, depth, due_at, created_at) "
            "VALUES (?, 'who-ran-it', 'PENDING', 'alice', ?, '\"x\"', 0, 0, 1, 1)",
            (run_id, json.dumps(["alice", "user", "w", None, []])),
        )
    return run_id


def schema_of(path: Path) -> list[tuple[str, str]]:
    """The tables and indexes of a file, and how they were made."""
    found: list[tuple[str, str]] = query(
        path, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
    )
    return found


async def test_a_file_of_version_1_is_upgraded(tmp_path: Path) -> None:
    """A journal of the first version gets the tables and the version of a new file, and its runs go on."""
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    run_id = make_version_1(old)
    async with EmbeddedPlatform(new):
        pass
    async with executing(platform := EmbeddedPlatform(old), who):
        assert await output_of(platform, run_id)
    assert SCHEMA_VERSION == 6
    assert query(old, "PRAGMA user_version") == query(new, "PRAGMA user_version") == [(6,)]
    assert schema_of(old) == schema_of(new)
    assert {"schedule", "cancel_request", "job_waiting", "recovery", "executing"} <= dict(schema_of(old)).keys()
    assert query(old, "SELECT trace FROM run") == [(None,)]
    assert query(old, "PRAGMA integrity_check") == [("ok",)]


async def test_times_of_version_4_become_those_of_this_one(tmp_path: Path) -> None:
    """What was due at a time is due at once, and a wait for a time knows when it began, and so its length."""
    path = tmp_path / "old.sqlite"
    schemas = [files("gqlplugin.platform.embedded").joinpath(name).read_text() for name in SCHEMAS[:4]]
    runs = [  # status, due_at
        ("PENDING", 9),
        ("PENDING_RESUME", 9),
        ("RUNNING", None),
        ("RUNNING", 9),
        ("PENDING_RETRY", 9),
        ("WAITING", 9),
        ("WAITING", None),
        ("SUCCESS", None),
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(";".join(schemas))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 4")
        connection.executemany(
            "INSERT INTO run (id, workflow_name, status, caller_id, caller, input, attempt, depth, due_at, created_at) "
            "VALUES (?, 'w', ?, 'a', '[]', '1', 0, 0, ?, 3)",
            [(str(number), *run) for number, run in enumerate(runs)],
        )
        connection.executemany(
            "INSERT INTO job (run_id, place, name, stacked_name, status, input, logs, started_at, finished_at) "
            "VALUES (?, ?, 'j', 'j', ?, '1', '[]', ?, ?)",
            [("4", "0", "FAILED", 4, 5), ("5", "0", "RUNNING", 4, None), ("5", "0.0", "WAITING", 6, None)],
        )
        connection.execute("INSERT INTO idempotency_key VALUES ('a', 'k', '0', 'f', 7), ('a', 'l', 'gone', 'f', 7)")
    async with EmbeddedPlatform(path):
        pass
    assert query(path, "SELECT due_at, waits_since FROM run ORDER BY seq") == [
        (0, None),
        (0, None),
        (None, None),
        (0, None),
        (9, 5),
        (9, 6),
        (None, None),
        (None, None),
    ]
    assert query(path, "SELECT kept_since FROM idempotency_key ORDER BY key") == [(3,), (None,)]


async def test_an_upgraded_file_is_left_alone_afterwards(tmp_path: Path) -> None:
    """Opened once more, an upgraded file is opened as any other."""
    path = tmp_path / "old.sqlite"
    run_id = make_version_1(path)
    for _ in range(3):
        async with EmbeddedPlatform(path) as platform:
            assert (await platform.get_execution(run_id)).status is ExecutionStatus.PENDING


async def test_many_may_upgrade_a_file_at_once(tmp_path: Path) -> None:
    """Platforms that open a file of the first version at the same moment all get it, upgraded once."""
    path = tmp_path / "old.sqlite"
    run_id = make_version_1(path)
    async with AsyncExitStack() as stack:
        platforms = [EmbeddedPlatform(path) for _ in range(8)]
        await asyncio.gather(*(stack.enter_async_context(platform) for platform in platforms))
        started = await platforms[0].start_workflow("x", "1", caller=ALICE)
        assert {run.id for run in await all_runs(platforms[-1])} == {run_id, started}


async def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    """When a statement of the upgrade is refused, the file stays what it was."""
    path = tmp_path / "old.sqlite"
    make_version_1(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE schedule (id)")
    before = schema_of(path)
    with pytest.raises(Exception, match=r"old\.sqlite can't be used as a journal"):
        async with EmbeddedPlatform(path):
            pass
    assert schema_of(path) == before
    assert query(path, "PRAGMA user_version") == [(1,)]
