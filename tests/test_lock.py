"""A lock on a file: one holder at a time, and none that has died."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gqlplugin.lock import FileLock

_HOLD = """
import sys
from gqlplugin.lock import FileLock
lock = FileLock(sys.argv[1])
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    """Who comes second does not wait, and gets it when the first lets go."""
    first, second = FileLock(f"{tmp_path}/lock"), FileLock(f"{tmp_path}/lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert not first.acquire()
    second.release()


def test_who_holds_it_may_ask_again(tmp_path: Path) -> None:
    """Asking again says that it is held, and one release is enough."""
    lock = FileLock(f"{tmp_path}/lock")
    assert lock.acquire()
    assert lock.acquire()
    lock.release()
    lock.release()
    assert FileLock(f"{tmp_path}/lock").acquire()


def test_it_ends_with_its_process(tmp_path: Path) -> None:
    """A process that is killed holds nothing."""
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        lock = FileLock(str(path))
        assert not lock.acquire()
        process.kill()
        process.wait()
        assert lock.acquire()
        lock.release()


def test_the_file_is_the_owners_alone_and_stays(tmp_path: Path) -> None:
    """Nobody else can take the lock, and two processes never lock two files of one name."""
    path = tmp_path / "lock"
    lock = FileLock(str(path))
    lock.acquire()
    number = path.stat().st_ino
    lock.release()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_ino == number


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    """Asking in vain again and again, as one that stands by does, uses nothing up."""
    held, waiting = FileLock(f"{tmp_path}/lock"), FileLock(f"{tmp_path}/lock")
    held.acquire()
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0  # noqa: PTH208 - of the kernel's own
    for _ in range(100):
        assert not waiting.acquire()
    after = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0  # noqa: PTH208
    assert after == before
    held.release()


def test_a_file_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    """That is not the same as somebody else holding it."""
    with pytest.raises(FileNotFoundError):
        FileLock(f"{tmp_path}/nowhere/lock").acquire()
