"""A disk that forgets what was not synced, built from the system calls that a process made."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.crash.system_calls import Call


@dataclass
class _File:
    """A file: what is surely on the disk, and the changes that may be."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)

    def sync(self) -> None:
        for call in self.pending:
            _apply(self.durable, call)
        self.pending = []

    def image(self, dice: random.Random | None, sector: int) -> bytes:
        content = bytearray(self.durable)
        for call in self.pending if dice is not None else ():
            assert dice is not None
            if call.kind == "t":
                if dice.random() < 0.5:
                    _apply(content, call)
                continue
            for begin, end in _sectors(call, sector):
                if dice.random() < 0.5:
                    _apply(content, Call("w", call.path, call.offset + begin, call.data[begin:end]))
        return bytes(content)


class Disk:
    """What a disk may hold after a power cut: what was synced, and any part of the rest.

    A write is kept or lost by sectors, in any order. A file that was made or removed is so for sure once its folder is
    synced.

    Args:
        directory: The folder that the process worked in.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._files: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}

    def apply(self, call: Call) -> None:
        """Let a system call have been made."""
        if call.path == self._directory:
            self._durable_names = dict(self._files)
        elif call.kind == "u":
            self._files.pop(call.path, None)
        else:
            file = self._files.setdefault(call.path, _File())
            if call.kind == "s":
                file.sync()
            else:
                file.pending.append(call)

    def write_image(self, directory: Path, dice: random.Random | None, sector: int = 512) -> None:
        """Write files as they may be when the power is cut now.

        Args:
            directory: Where to; it is there, and empty.
            dice: Decides what is kept of what was not synced; None keeps nothing of it.
            sector: Size of what is kept or lost as a whole, in bytes.
        """
        for path in self._files.keys() | self._durable_names.keys():
            is_new = self._files.get(path) is not self._durable_names.get(path)
            names = self._files if is_new and dice is not None and dice.random() < 0.5 else self._durable_names
            if (file := names.get(path)) is not None and not path.endswith("-shm"):  # mapped, and made again
                (directory / Path(path).name).write_bytes(file.image(dice, sector))


def _apply(content: bytearray, call: Call) -> None:
    end = call.offset if call.kind == "t" else call.offset + len(call.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if call.kind == "t":
        del content[end:]
    else:
        content[call.offset : end] = call.data


def _sectors(call: Call, size: int) -> list[tuple[int, int]]:
    """The parts of a write that lie in different sectors of the file."""
    bounds = [0, *range(size - call.offset % size, len(call.data), size), len(call.data)]
    return list(pairwise(bounds))
