"""SIGKILL at random points: nothing that was acknowledged is lost, nothing is doubled, nothing recorded runs again.

A power cut, in which the disk forgets what the kernel had not written, is in `test_power_cut.py`.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash.records import (
    Executed,
    check_integrity,
    copy_of,
    executed_in,
    opened,
    recorded_in,
    redone_too_late,
)
from tests.crash.server import JOURNAL, KILLED, Server
from tests.rounds import rounds

pytestmark = pytest.mark.rounds

KILLS = rounds(24, few=8)
STARTS = rounds(220, few=75)
WORKFLOWS = ("leaf", "nested", "spawning", "flaky", "asking")
LONGEST_LIFE_SECONDS = 0.4
LONGEST_END_SECONDS = 120.0


@dataclass
class Start:
    """A start that the harness asks for; with a key it is asked for until it is acknowledged."""

    n: int
    workflow: str
    key: str | None
    run_id: str | None = None
    asked: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it must be asked for (again): without a key, asking twice may well start two runs."""
        return self.run_id is None and (self.asked == 0 or self.key is not None)


@dataclass
class Death:
    """What was on the disk when the process was killed."""

    recorded: set[Executed]
    unfinished: int
    executed: int


@dataclass
class Harness:
    """Starts, kills, and keeps book of what was promised."""

    directory: Path
    dice: random.Random
    starts: dict[int, Start]
    kills: int = 0
    deaths: list[Death] = field(default_factory=list)

    def live_and_die(self, server: Server, standby: Server | None) -> None:
        """Serve for a random time, or until a random acknowledgement, and be killed in whatever it does."""
        if standby is not None:
            standby.wait_until_open()
        if self.dice.random() < 0.75:  # the others may die before they have opened anything
            server.wait_until_open()
        self._serve_a_while(server)
        if standby is not None:
            standby.pause()
        assert server.kill() == KILLED
        self.kills += 1
        self._hear_the_rest(server)
        if standby is None:
            self._examine_copy()
        else:
            self._examine(self.directory / JOURNAL)
            standby.go_on()

    def _serve_a_while(self, server: Server) -> None:
        longest = LONGEST_LIFE_SECONDS * max(1, self.kills / KILLS)  # a slow machine needs longer lives
        deadline = time.monotonic() + self.dice.uniform(0, longest)
        acknowledgements = self.dice.choice([self.dice.randint(1, 10), STARTS])
        waiting = self._next_starts()
        while acknowledgements > 0 and (left := deadline - time.monotonic()) > 0:
            if waiting:
                self._ask(server, waiting.pop())
            acknowledgements -= self._hear(server, min(left, self.dice.uniform(0, 0.02)))

    @property
    def interrupted(self) -> int:
        """How many deaths left acknowledged, recorded and unfinished work on the disk."""
        return sum(bool(death.unfinished and death.recorded) for death in self.deaths)

    def has_seen_enough(self) -> bool:
        """Whether processes died often, in the middle of things, and something was asked for and done again."""
        executed = executed_in(self.directory)
        return (
            self.kills >= KILLS
            and self.interrupted >= KILLS // 4
            and any(start.asked > 1 for start in self.starts.values())
            and len(executed) > len(set(executed))
        )

    def live_to_the_end(self, server: Server) -> None:
        """Ask for what is left, and again for all that has a key, and wait until every run has ended."""
        deadline = time.monotonic() + LONGEST_END_SECONDS
        asked = [start for start in self.starts.values() if start.is_open or start.key is not None]
        for start in asked:
            self._ask(server, start)
        answered = 0
        while answered < len(asked) or self._unfinished():
            assert time.monotonic() < deadline, f"after {LONGEST_END_SECONDS} s {self._unfinished()} runs go on"
            answered += self._hear(server, 0.05)
        assert server.stop() == 0

    def _next_starts(self) -> list[Start]:
        still_open = [start for start in self.starts.values() if start.is_open]
        return still_open[: self.dice.randint(4, 2 * STARTS // KILLS)]

    def _ask(self, server: Server, start: Start) -> None:
        start.asked += 1
        server.start(start.n, start.workflow, start.key)

    def _hear(self, server: Server, timeout: float) -> int:
        answers = server.answers(timeout)
        for n, run_id in answers:
            assert self.starts[n].run_id in (None, run_id), f"start {n} was acknowledged as two runs"
            self.starts[n].run_id = run_id
        return len(answers)

    def _hear_the_rest(self, server: Server) -> None:
        try:
            while self._hear(server, 1):
                pass
        except EOFError:
            pass

    def _examine_copy(self) -> None:
        """Look at a copy of the journal, so that the next process recovers the file by itself."""
        with copy_of(self.directory / JOURNAL) as copy:
            if copy is not None:
                self._examine(copy)

    def _examine(self, journal: Path) -> None:
        """Note what a journal holds.

        While another process has the file open, only the file itself tells what is committed: a copy would be
        recovered, and might find a transaction that was written and not yet committed when its writer died.
        """
        with opened(journal) as connection:
            if connection is not None:
                unfinished = connection.execute("SELECT count(*) FROM run WHERE finished_at IS NULL").fetchone()[0]
                self.deaths.append(Death(set(recorded_in(connection)), unfinished, len(executed_in(self.directory))))
                check_integrity(connection)

    def _unfinished(self) -> int:
        with closing(sqlite3.connect(f"file:{self.directory / JOURNAL}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM run WHERE finished_at IS NULL").fetchone()[0])


def make_starts(dice: random.Random) -> dict[int, Start]:
    """The starts of a test, half of them with a key."""
    return {
        n: Start(n, WORKFLOWS[n % len(WORKFLOWS)], f"key-{n}" if dice.random() < 0.5 else None)
        for n in range(1, STARTS + 1)
    }


@pytest.fixture(scope="module")
def harness(dice: random.Random, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """A journal after many deaths and a quiet end."""
    harness = Harness(tmp_path_factory.mktemp("crash"), dice, make_starts(dice))
    server = Server(harness.directory)
    standby: Server | None = None
    try:
        while harness.kills < 5 * KILLS and not harness.has_seen_enough():
            standby = Server(harness.directory) if dice.random() < 0.3 else None
            harness.live_and_die(server, standby)
            server.close()
            server, standby = standby or Server(harness.directory), None
        harness.live_to_the_end(server)
    finally:
        for one in (server, standby):
            if one is not None:
                one.close()
    return harness


@dataclass(frozen=True)
class Run:
    """A run as the journal has it at the end."""

    id: str
    workflow: str
    status: str
    step: str
    n: int
    output: object
    error: str | None


@pytest.fixture(scope="module")
def runs(harness: Harness) -> Sequence[Run]:
    """Every run in the journal."""
    with closing(sqlite3.connect(harness.directory / JOURNAL)) as connection:
        check_integrity(connection)
        rows = connection.execute("SELECT id, workflow_name, status, input, output, error FROM run").fetchall()
    inputs = [json.loads(row[3]) for row in rows]
    return [
        Run(row[0], row[1], row[2], given["step"], given["n"], json.loads(row[4] or "null"), row[5])
        for row, given in zip(rows, inputs, strict=True)
    ]


def test_that_the_harness_saw_what_it_is_about(harness: Harness, runs: Sequence[Run]) -> None:
    """The processes died in the middle of things, with acknowledged, recorded and unfinished work on the disk."""
    assert len(runs) >= 0.9 * STARTS
    assert harness.has_seen_enough()


def test_acknowledged_runs_are_not_lost(harness: Harness, runs: Sequence[Run]) -> None:
    """Every run whose ID the harness was told is in the journal, with the arguments it was started with."""
    found = {run.id: run for run in runs}
    acknowledged = [start for start in harness.starts.values() if start.run_id is not None]
    lost = [start for start in acknowledged if start.run_id not in found]
    assert not lost
    assert [(found[start.run_id or ""].n, found[start.run_id or ""].workflow) for start in acknowledged] == [
        (start.n, start.workflow) for start in acknowledged
    ]


def test_runs_are_not_doubled(harness: Harness, runs: Sequence[Run]) -> None:
    """A start with a key is one run however often it was asked for, one without is at most one, a child is one."""
    started = Counter(run.n for run in runs if run.step == "main")
    assert [start for start in harness.starts.values() if started[start.n] > 1] == []
    assert [start for start in harness.starts.values() if start.key and started[start.n] != 1] == []
    parents = {run.n for run in runs if run.workflow == "spawning"}
    children = Counter((run.n, run.step) for run in runs if run.step != "main")
    assert children == {(n, step): 1 for n in parents for step in ("first-child", "second-child")}


def test_recorded_jobs_do_not_run_again(harness: Harness) -> None:
    """What the journal had recorded at a kill was never executed after it."""
    executed = executed_in(harness.directory)
    for number, death in enumerate(harness.deaths):
        again = death.recorded.intersection(executed[death.executed :])
        assert not again, f"after kill {number}"
        assert death.recorded <= set(executed[: death.executed]), f"before kill {number}"


def test_jobs_whose_caller_went_on_do_not_run_again(harness: Harness) -> None:
    """A job may only be redone when nothing else of its run was executed in between: its result comes first."""
    assert redone_too_late(executed_in(harness.directory)) == []


def test_every_run_ends_well(runs: Sequence[Run]) -> None:
    """Every run ends as SUCCESS with the result that its arguments lead to."""
    assert [run for run in runs if run.status != "SUCCESS"] == []
    children = {(run.n, run.step): run.id for run in runs}
    for run in runs:
        expected = {
            "leaf": run.n,
            "nested": 6 * run.n,
            "flaky": 3 * run.n,
            "asking": 5 * run.n,
            "spawning": {"run_ids": [children.get((run.n, f"{which}-child")) for which in ("first", "second")]},
        }
        assert run.output == expected[run.workflow]
