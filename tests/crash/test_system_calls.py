"""SIGKILL before each system call that changes a file, one after another, and again while the next process recovers."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.crash.records import Executed, check_integrity, copy_of, executed_in, opened, recorded_in, redone_too_late
from tests.crash.server import JOURNAL, KILLED
from tests.crash.system_calls import ACKNOWLEDGED, CANCELED, STARTS, Life, Lives, acknowledged_in
from tests.rounds import rounds

pytestmark = pytest.mark.rounds

JOURNALS = rounds(75, few=2)
"""How many journals there are; each sees two kills, the first of them at another call than those of the others."""
MOST_CALLS_OF_A_RECOVERY = 80


class History:
    """A journal and what was promised about it, through several kills."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.recorded: list[tuple[set[Executed], int]] = []

    def acknowledged(self) -> list[tuple[str, list[Any]]]:
        """What its processes were told."""
        file = self.directory / ACKNOWLEDGED
        return acknowledged_in(file.read_text()) if file.exists() else []

    def started(self) -> dict[int, str]:
        """The runs that were acknowledged."""
        runs: dict[int, str] = {}
        for what, details in self.acknowledged():
            if what == "start":
                n, run_id = details
                assert runs.setdefault(n, run_id) == run_id, f"start {n} was acknowledged as two runs"
        return runs

    def examine(self) -> None:
        """Check what a kill left, in a copy."""
        runs: set[str] = set()
        with copy_of(self.directory / JOURNAL) as copy:
            if copy is not None:
                with opened(copy) as connection:
                    if connection is not None:
                        check_integrity(connection)
                        runs = {run_id for (run_id,) in connection.execute("SELECT id FROM run")}
                        self.recorded.append((set(recorded_in(connection)), len(executed_in(self.directory))))
        assert set(self.started().values()) <= runs

    def check_end(self) -> None:
        """Check that all that was promised has come about, once."""
        with closing(sqlite3.connect(self.directory / JOURNAL)) as connection:
            check_integrity(connection)
            rows = connection.execute("SELECT id, status, input, output FROM run").fetchall()
        runs = {(given["n"], given["step"]): (run_id, status, output) for run_id, status, given, output in _load(rows)}
        assert len(runs) == len(rows), "a start is two runs"
        assert set(runs) == {(n, "main") for n in STARTS} | {(2, "first-child"), (2, "second-child")}
        assert {n: runs[n, "main"][0] for n in STARTS} == self.started()
        assert {key: run[1] for key, run in runs.items() if run[1] != "SUCCESS"} == {(CANCELED, "main"): "CANCELED"}
        children = {"run_ids": [runs[2, f"{which}-child"][0] for which in ("first", "second")]}
        assert [runs[n, "main"][2] for n in STARTS] == [1, children, 9, 20, None]
        told = Counter(json.dumps(one) for one in self.acknowledged() if one[0] != "start")
        assert [one for one, count in told.items() if count > 1] == [], "an answer or a cancel was forgotten"
        executed = executed_in(self.directory)
        for recorded, before in self.recorded:
            assert recorded <= set(executed[:before])
            assert not recorded.intersection(executed[before:]), "what was recorded ran again"
        assert redone_too_late(executed) == []


def _load(rows: list[Any]) -> list[Any]:
    return [(run_id, status, json.loads(given), json.loads(output or "null")) for run_id, status, given, output in rows]


def test_a_kill_before_any_system_call_loses_and_doubles_nothing(
    lives: Lives, dice: random.Random, tmp_path: Path
) -> None:
    """What was acknowledged is there and ends, nothing is there twice, and what was recorded does not run again."""
    whole = History(tmp_path / "whole")
    whole.directory.mkdir()
    status, calls = lives.live(Life(directory=str(whole.directory)))
    assert status == 0
    whole.check_end()
    kills = 0
    first = dice.uniform(1, calls / JOURNALS)
    for number in range(JOURNALS):
        history = History(tmp_path / f"journal-{number}")
        history.directory.mkdir()
        moments = [round(first + number * calls / JOURNALS), dice.randint(1, MOST_CALLS_OF_A_RECOVERY)]
        print(f"{history.directory.name} is killed before its calls {moments}")  # noqa: T201 - for a failure
        for moment in moments:
            status, _ = lives.live(Life(directory=str(history.directory), kill_at=moment))
            assert status in (0, KILLED)  # one life makes a few calls less than another
            kills += status == KILLED
            history.examine()
        assert lives.live(Life(directory=str(history.directory)))[0] == 0
        history.check_end()
        shutil.rmtree(history.directory)
    assert kills >= 1.5 * JOURNALS
