"""What a journal and its witness hold, for those who compare them."""

import json
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.crash.server import WITNESS

Executed = tuple[str, str, str]
"""A job that ran, or was recorded: run ID, job, step."""


def recorded_in(connection: sqlite3.Connection) -> Iterator[Executed]:
    """The jobs that are recorded as done."""
    rows = connection.execute("SELECT run_id, name, input FROM job WHERE status = 'SUCCESS' AND name NOT LIKE '%:%'")
    for run_id, name, input_ in rows:
        yield run_id, name, json.loads(input_)["step"]


def executed_in(directory: Path) -> list[Executed]:
    """What ran, in order, as the witness has it."""
    witness = directory / WITNESS
    lines = witness.read_text().splitlines() if witness.exists() else []
    return [(run_id, job, step) for run_id, job, step in (line.split() for line in lines)]


def redone_too_late(executed: Iterable[Executed]) -> list[list[Executed]]:
    """The runs of which a job was redone after another one had been executed: its result must have come first."""
    per_run: defaultdict[str, list[Executed]] = defaultdict(list)
    for one in executed:
        steps = per_run[one[0]]
        if not steps or steps[-1] != one:
            steps.append(one)
    return [steps for steps in per_run.values() if len(steps) != len(set(steps))]


def check_integrity(connection: sqlite3.Connection) -> None:
    """Check the structure of a file."""
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextmanager
def copy_of(journal: Path) -> Iterator[Path | None]:
    """A copy to look at, so that the next process recovers the file by itself; None when there is no file."""
    copy = journal.with_name("copy.sqlite")
    for suffix in ("", "-wal", "-journal"):
        if (original := Path(f"{journal}{suffix}")).exists():
            shutil.copy(original, f"{copy}{suffix}")
    try:
        yield copy if copy.exists() else None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


@contextmanager
def opened(journal: Path) -> Iterator[sqlite3.Connection | None]:
    """A journal, if it has got its tables."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield connection if connection.execute("PRAGMA user_version").fetchone()[0] else None
