"""SIGKILL while the outbox is relayed: what was committed starts once and in order, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gqlplugin.database.outbox import create_table, table
from tests.crash.relaying import JOURNAL, Base, Change, Process, open_engine, relay, write
from tests.crash.server import KILLED
from tests.postgres import DATABASES, running_postgres
from tests.rounds import rounds

pytestmark = pytest.mark.rounds

KILLS = rounds(100, few=8)
LONGEST_LIFE_SECONDS = 0.3
LONGEST_END_SECONDS = 120.0


@dataclass(frozen=True)
class Run:
    """A run in the journal: its ID, and the change it is for."""

    id: str
    n: int
    record: str | None


@dataclass
class Harness:
    """Kills those who relay and, now and then, who writes."""

    url: str
    directory: Path
    dice: random.Random
    loop: asyncio.Runner
    engine: AsyncEngine
    kills: int = 0
    written: int = 0
    started_and_not_deleted: list[int] = field(default_factory=list)
    not_started: list[int] = field(default_factory=list)

    def live_and_die(self) -> None:
        """Have two relay at a time, the older one of which is killed again and again."""
        writer = self._writer()
        relays = [self._relay()]
        try:
            while self.kills < KILLS or not (any(self.started_and_not_deleted) or self.kills > 5 * KILLS):
                relays.append(self._relay())
                relays[-1].wait_until_ready()
                time.sleep(self.dice.uniform(0, LONGEST_LIFE_SECONDS))
                self._kill(relays.pop(0))
                self._look()
                if self.dice.random() < 0.1:
                    self._kill(writer)
                    writer = self._writer()
        finally:
            for process in (writer, *relays):
                self._kill(process)

    def live_to_the_end(self) -> None:
        """Relay in peace until the outbox is empty."""
        deadline = time.monotonic() + LONGEST_END_SECONDS
        last = self._relay()
        try:
            while left := self.loop.run(self._waiting()):
                assert time.monotonic() < deadline, f"after {LONGEST_END_SECONDS} s {len(left)} rows are left"
                time.sleep(0.02)
        finally:
            self._kill(last)

    def changes(self) -> Sequence[Change]:
        """What was committed, in the order of the commits."""
        return self.loop.run(self._changes())

    def runs(self) -> list[Run]:
        """What was started, in the order of the starts."""
        with closing(sqlite3.connect(self.directory / JOURNAL)) as journal:
            if not journal.execute("PRAGMA user_version").fetchone()[0]:
                return []
            rows = journal.execute("SELECT id, input FROM run ORDER BY seq").fetchall()
        return [Run(run_id, *json.loads(arg)) for run_id, arg in rows]

    def _relay(self) -> Process:
        return Process(relay, self.url, str(self.directory))

    def _writer(self) -> Process:
        changes = self.changes()
        return Process(write, self.url, changes[-1].n + 1 if changes else 1, self.dice.randrange(1 << 32))

    def _kill(self, process: Process) -> None:
        assert process.kill() == KILLED
        self.kills += 1

    def _look(self) -> None:
        waiting, started = self.loop.run(self._waiting()), {run.id for run in self.runs()}
        self.started_and_not_deleted.append(len(started & waiting))
        self.not_started.append(len(waiting - started))

    async def _waiting(self) -> set[str]:
        async with self.engine.connect() as connection:
            assert not await connection.scalar(select(func.count(table.c.error)))
            return set(await connection.scalars(select(table.c.run_id)))

    async def _changes(self) -> Sequence[Change]:
        async with self.engine.connect() as connection:
            found = await connection.execute(select(Change.n, Change.record, Change.run_id).order_by(Change.n))
            return [Change(n=row.n, record=row.record, run_id=row.run_id) for row in found]


async def _prepare(engine: AsyncEngine) -> None:
    await create_table(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


@pytest.fixture(scope="module", params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('database') / 'database.sqlite'}"
    else:
        with running_postgres() as new_database:
            yield new_database()


@pytest.fixture(scope="module")
def harness(url: str, dice: random.Random, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A database and a journal after many deaths and a quiet end."""
    with asyncio.Runner() as loop:
        engine = loop.run(open_engine(url))
        loop.run(_prepare(engine))
        harness = Harness(url, tmp_path_factory.mktemp("journal"), dice, loop, engine)
        harness.live_and_die()
        harness.live_to_the_end()
        yield harness
        loop.run(engine.dispose())


def test_that_the_harness_saw_what_it_is_about(harness: Harness) -> None:
    """Processes died before starts, and between starts and deletes, while much was committed."""
    assert harness.kills >= KILLS
    assert any(harness.started_and_not_deleted)
    assert sum(map(bool, harness.not_started)) >= KILLS // 4
    assert len(harness.changes()) >= 5 * KILLS


def test_what_was_committed_starts_once_and_nothing_else_does(harness: Harness) -> None:
    """Every committed change has exactly the run that was written with it; what was rolled back has none."""
    runs = harness.runs()
    assert Counter(run.n for run in runs) == Counter(change.n for change in harness.changes())
    assert {(run.id, run.n, run.record) for run in runs} == {
        (change.run_id, change.n, change.record) for change in harness.changes()
    }


def test_the_changes_of_a_record_start_in_order(harness: Harness) -> None:
    """The runs of every record were started in the order in which its changes were committed."""
    by_record: defaultdict[str, list[int]] = defaultdict(list)
    for run in harness.runs():
        if run.record is not None:
            by_record[run.record].append(run.n)
    assert len(by_record) > rounds(10, few=5)
    assert [numbers for numbers in by_record.values() if numbers != sorted(numbers)] == []
