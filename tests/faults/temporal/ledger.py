"""A file in which jobs write what they do, each line at once, from any number of processes that may die at any time."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

VARIABLE = "FAULT_LEDGER"
"""The environment variable that tells worker processes where it is."""

HELD = "FAULT_HELD"
"""The environment variable that tells a worker process at which step it is held until the test lets it go on."""


class Word(StrEnum):
    """What is written of a step."""

    BEGINS = "begins"
    ENDS = "ends"
    LEAVES = "leaves"  # its process has given it up, or has it done
    KNOWN = "known"  # its caller has its outcome, or the platform has told it: it is recorded


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: what happened to a step of a run.

    Attributes:
        process: Which process says so.
        detail: What the step came to, where that matters.
    """

    run_id: str
    step: str
    word: Word
    process: int
    detail: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What must not begin again once it is known."""
        return self.run_id, self.step


class Ledger:
    """The file.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to write in it."""
        return {VARIABLE: str(self._path)}

    def let_go(self) -> None:
        """Have processes that are held go on."""
        _gate(self._path).touch()

    @property
    def size(self) -> int:
        """How many lines there are."""
        return self._path.read_bytes().count(b"\n")

    def entries(self) -> Iterator[Entry]:
        """All that was written, in its order."""
        for line in self._path.read_text().splitlines():
            run_id, step, word, process, *detail = line.split(" ")
            yield Entry(run_id, step, Word(word), int(process), *detail)

    def of(self, run_id: str, process: int) -> list[Entry]:
        """What a process has written of a run."""
        return [entry for entry in self.entries() if (entry.run_id, entry.process) == (run_id, process)]

    def note(self, run_id: str, step: str, word: Word) -> None:
        """Write a line."""
        _append(self._path, run_id, step, word)

    def begun_again(self) -> list[Entry]:
        """What began although its outcome was known."""
        known: set[tuple[str, str]] = set()
        again = []
        for entry in self.entries():
            if entry.word is Word.KNOWN:
                known.add(entry.place)
            elif entry.word is Word.BEGINS and entry.place in known:
                again.append(entry)
        return again

    def begins(self) -> Counter[tuple[str, str]]:
        """How often each step began."""
        return Counter(entry.place for entry in self.entries() if entry.word is Word.BEGINS)

    def details(self, step: str) -> dict[str, set[str]]:
        """What a step has come to, by run."""
        found: dict[str, set[str]] = {}
        for entry in self.entries():
            if entry.step == step and entry.word is Word.KNOWN and entry.detail:
                found.setdefault(entry.run_id, set()).add(entry.detail)
        return found


def note(run_id: str, step: str, word: Word, detail: str = "") -> None:
    """Write a line in the ledger that the environment names."""
    _append(Path(os.environ[VARIABLE]), run_id, step, word, detail)


async def hold(step: str) -> None:
    """Wait, in a process that is held at a step, until the test lets it go on."""
    if os.environ.get(HELD) == step:
        while not _gate(Path(os.environ[VARIABLE])).exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)


def _gate(path: Path) -> Path:
    return path.with_suffix(".go")


def is_first_time(run_id: str) -> bool:
    """Whether this is asked for the first time of a run, in whatever process."""
    try:
        os.close(os.open(f"{os.environ[VARIABLE]}.{run_id}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _append(path: Path, run_id: str, step: str, word: Word, detail: str = "") -> None:
    line = " ".join([run_id, step, word, str(os.getpid()), *filter(None, [detail])])
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\n".encode())  # one write, so that lines of several processes don't mix
    finally:
        os.close(descriptor)
