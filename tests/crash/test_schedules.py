"""SIGKILL at random points while schedules fire: every time that was due has one run, and only one."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.schedule import Schedule
from tests.crash.clockwork import BEGINS_AT, JOURNAL, Clockwork, define_clockwork, time_since
from tests.rounds import rounds

pytestmark = pytest.mark.rounds

KILLS = rounds(200, few=30)
LONGEST_LIFE_SECONDS = 0.1
SHORTEST_TIME = rounds(timedelta(hours=3), few=timedelta(hours=1))
MOST_STATEMENTS = 50
LONGEST_END_SECONDS = 120.0

SCHEDULES = define_clockwork().schedules


@dataclass
class Harness:
    """What the journal holds after many deaths and a quiet end."""

    path: Path
    ends_at: datetime = BEGINS_AT
    kills: int = 0
    took_over: int = 0

    def query(self, sql: str, *values: object) -> list[Any]:
        """What the journal says."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql, values).fetchall()

    def unfinished(self) -> int:
        """How many runs have not ended."""
        return int(self.query("SELECT count(*) FROM run WHERE finished_at IS NULL")[0][0])

    def let_fire(self, server: Clockwork) -> None:
        """Let a process live until it has fired, unless it dies before."""
        if server.wait_until_open():
            before = self.last_time()
            while server.is_alive and self.last_time() == before:
                server.wait_until_dead(0.01)

    def last_time(self) -> datetime:
        """The last time of the schedule that fires the most."""
        return max(self.times("executor/every-minute"), default=BEGINS_AT)

    def times(self, name: str) -> list[datetime]:
        """The times of a schedule that have runs, in the order of their runs."""
        rows = self.query("SELECT input FROM run WHERE workflow_name = ? ORDER BY seq", name)
        return [datetime.fromisoformat(json.loads(row[0])["scheduled_time"]) for row in rows]


def live_and_die(server: Clockwork, dice: random.Random, *, opens: bool) -> None:
    """Let a process live for a random time, which may end before it has opened the file, and kill it."""
    if opens:
        server.wait_until_open()
    server.wait_until_dead(dice.uniform(0, LONGEST_LIFE_SECONDS))
    assert server.kill() == -signal.SIGKILL


@pytest.fixture(scope="module")
def harness(dice: random.Random, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """A journal whose schedules fired while processes were killed. Set CRASH_SEED to repeat the choices."""
    directory = tmp_path_factory.mktemp("schedules")
    harness = Harness(directory / JOURNAL)
    first = Clockwork(tmp_path_factory.mktemp("warm"), time.time())  # its imports take seconds: hours of the clock
    assert first.wait_until_open()
    first.close()
    epoch = time.time()

    def start() -> Clockwork:
        suicidal = dice.random() < 0.6
        return Clockwork(directory, epoch, dice.randint(1, MOST_STATEMENTS) if suicidal else None)

    server = start()
    standby: Clockwork | None = None
    try:
        while harness.kills < KILLS or time_since(epoch) < BEGINS_AT + SHORTEST_TIME:
            standby = start() if dice.random() < 0.3 else None
            harness.took_over += standby is not None and standby.wait_until_open()
            if harness.kills % 3 == 0:  # otherwise a slow machine may miss more times than are made up for
                harness.let_fire(server)
            live_and_die(server, dice, opens=dice.random() < 0.8)
            harness.kills += 1
            server.close()
            server, standby = standby or start(), None
        server.close()
        harness.ends_at = time_since(epoch).replace(second=30, microsecond=0)
        server = Clockwork(directory, epoch, ends_at=harness.ends_at)
        assert server.wait_until_open()
        deadline = time.monotonic() + LONGEST_END_SECONDS
        while harness.unfinished() or harness.last_time() < harness.ends_at.replace(second=0):
            assert time.monotonic() < deadline
            server.wait_until_dead(0.05)
        assert server.stop() == 0
    finally:
        for one in (server, standby):
            if one is not None:
                one.close()
    return harness


def test_that_the_harness_saw_what_it_is_about(harness: Harness) -> None:
    """Processes died often, others stood by, and the clock went far enough to be changed on the way."""
    assert harness.kills >= KILLS
    assert harness.took_over >= KILLS // 20
    assert len(harness.times("executor/every-minute")) >= SHORTEST_TIME / timedelta(minutes=1.2)
    at_night = harness.times("executor/at-night")
    assert datetime(2026, 3, 29, 0, 55, tzinfo=UTC) in at_night
    assert datetime(2026, 3, 29, 1, 0, tzinfo=UTC) in at_night
    assert harness.query("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_time_has_one_run(harness: Harness, name: str) -> None:
    """From the first start to the last, no time of a schedule is without a run, and none has two, and in order."""
    times = harness.times(name)
    assert {moment: count for moment, count in Counter(times).items() if count > 1} == {}
    assert times == expected(SCHEDULES[name], times[0], times[-1])


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_journal_goes_on_where_the_runs_end(harness: Harness, name: str) -> None:
    """The time that the journal has as the next one follows the last one with a run."""
    [(next_at,)] = harness.query("SELECT next_at FROM schedule WHERE workflow_name = ?", name)
    following = SCHEDULES[name].after(harness.times(name)[-1])
    assert following is not None
    assert next_at == following.timestamp() * 1_000_000


def test_no_run_is_lost_on_its_way(harness: Harness) -> None:
    """What fired ran: no run failed, and none waits."""
    assert harness.query("SELECT DISTINCT status FROM run") == [("SUCCESS",)]


def expected(schedule: Schedule, first: datetime, last: datetime) -> list[datetime]:
    """Every time of a schedule from one to another."""
    times = [first]
    while times[-1] < last:
        following = schedule.after(times[-1])
        assert following is not None
        times.append(following)
    return times
