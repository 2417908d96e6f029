"""Power cuts: at any moment the disk may have lost any part of what was not synced."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash.disk import Disk
from tests.crash.records import check_integrity, opened
from tests.crash.server import JOURNAL
from tests.crash.system_calls import ACKNOWLEDGED, Life, Lives, acknowledged_in, calls_in
from tests.rounds import rounds

pytestmark = pytest.mark.rounds

CUTS = rounds(400, few=20)
"""How many moments; at each, first nothing of what was not synced is kept, then some small sectors, then large ones."""
REPAIRS = rounds(10, few=1)
"""After how many of them a process opens each journal and brings the runs to their ends."""


def cuts(log: Path, directory: Path, moments: set[int]) -> Iterator[tuple[int, Disk, set[str]]]:
    """The disk at moments of a log, and the IDs of the runs that were acknowledged by then."""
    disk, told = Disk(directory), b""
    for number, call in enumerate(calls_in(log)):
        disk.apply(call)
        if call.path == str(directory / ACKNOWLEDGED):
            told += call.data
        if number in moments:
            yield number, disk, {str(details[1]) for what, details in acknowledged_in(told.decode()) if what == "start"}


def lost_at(disk: Disk, acknowledged: set[str], image: Path, dice: random.Random | None, sector: int) -> set[str]:
    """Write an image and check it; the acknowledged runs that are not in it.

    Raises:
        sqlite3.DatabaseError: It is no database any more.
        AssertionError: Its structure is broken.
    """
    image.mkdir()
    disk.write_image(image, dice, sector)
    if not (image / JOURNAL).exists():
        return acknowledged
    with opened(image / JOURNAL) as connection:
        if connection is None:
            return acknowledged
        check_integrity(connection)
        return acknowledged - {run_id for (run_id,) in connection.execute("SELECT id FROM run")}


def live(lives: Lives, directory: Path, *, is_synced: bool = True) -> tuple[Path, int]:
    """A life that is logged: the log, and how many calls it has."""
    directory.mkdir()
    log = directory.with_suffix(".log")
    assert lives.live(Life(directory=str(directory), log=str(log), is_synced=is_synced))[0] == 0
    return log, sum(1 for _ in calls_in(log))


def test_a_power_cut_loses_nothing_that_was_acknowledged(lives: Lives, dice: random.Random, tmp_path: Path) -> None:
    """Whatever the disk kept of what was not synced, the journal opens, is sound, and has every acknowledged run."""
    directory = tmp_path / "life"
    log, calls = live(lives, directory)
    moments = set(dice.sample(range(calls), min(CUTS, calls)))
    repairs = set(dice.sample(sorted(moments), REPAIRS))
    most = 0
    for moment, disk, acknowledged in cuts(log, directory, moments):
        most = max(most, len(acknowledged))
        for name, choices, sector in (("none", None, 512), ("small", dice, 512), ("large", dice, 4096)):
            image = tmp_path / f"{moment}-{name}"
            assert not lost_at(disk, acknowledged, image, choices, sector), f"cut after call {moment}, keeping {name}"
            if moment in repairs:
                assert lives.live(Life(directory=str(image)))[0] == 0
                assert acknowledged <= _successful_or_canceled(image)
            shutil.rmtree(image)
    assert most >= 4


def test_that_a_journal_that_is_not_synced_loses_runs(lives: Lives, dice: random.Random, tmp_path: Path) -> None:
    """The simulation notices: without `fsync`, acknowledged runs are lost, or the file is broken."""
    directory = tmp_path / "life"
    log, calls = live(lives, directory, is_synced=False)
    failures = 0
    for moment, disk, acknowledged in cuts(log, directory, set(dice.sample(range(calls), 30))):
        failures += 1
        with suppress(sqlite3.DatabaseError, AssertionError):
            failures -= not lost_at(disk, acknowledged, tmp_path / f"{moment}", dice, 512)
    assert failures


def _successful_or_canceled(image: Path) -> set[str]:
    with opened(image / JOURNAL) as connection:
        assert connection is not None
        return {
            run_id for (run_id,) in connection.execute("SELECT id FROM run WHERE status IN ('SUCCESS', 'CANCELED')")
        }
