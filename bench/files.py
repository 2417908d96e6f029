"""Files to measure with."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = ("", "-wal", "-shm", ".lock")


def fresh(path: Path) -> Path:
    """A path with nothing left of an earlier database."""
    for suffix in SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path


def size_in_mib(path: Path) -> float:
    """The size of a database with its write-ahead log."""
    files = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    return sum(file.stat().st_size for file in files if file.exists()) / 2**20
