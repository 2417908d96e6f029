"""A lock on a file: one holder at a time, and none that has died."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gqlplugin.lock import FileLock, keep_from_children, let_go

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


_HOLD_WITH_CHILDREN = """
import ctypes, multiprocessing, os, signal, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from gqlplugin.lock import FileLock
lock = FileLock(sys.argv[1])
assert lock.acquire()
how, children = sys.argv[2], []
if how == "os.fork":
    if not (child := os.fork()):
        time.sleep(600)
    children = [child]
elif how == "native fork":
    if not (child := ctypes.CDLL(None).fork()):
        time.sleep(600)
    children = [child]
elif how == "forkpty":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the child's terminal ends with this process
    child, terminal = os.forkpty()
    if not child:
        time.sleep(600)
    children = [child]
elif how == "pool":
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    children = list({pool.submit(os.getpid).result() for _ in range(5)})
elif how == "subprocess":
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    children = [started.pid]
elif how == "preexec_fn":
    started = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False, preexec_fn=os.getpid
    )
    children = [started.pid]
else:
    process = multiprocessing.get_context(how).Process(target=time.sleep, args=(600,))
    process.start()
    children = [process.pid]
print(*children, flush=True)
sys.stdin.read()
lock.release()
print("released", flush=True)
sys.stdin.close()
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("how", "ending"),
    [
        *((how, "kill") for how in ("os.fork", "forkpty", "pool", "fork", "forkserver", "subprocess", "preexec_fn")),
        *((how, "release") for how in ("pool", "native fork")),
    ],
)
def test_it_does_not_stay_with_a_child(tmp_path: Path, how: str, ending: str) -> None:
    """A process that is killed, or releases it, frees the lock though children of it live on."""
    script, path, said = tmp_path / "hold.py", tmp_path / "lock", tmp_path / "said"
    script.write_text(_HOLD_WITH_CHILDREN if how != "forkserver" else _main_guarded(_HOLD_WITH_CHILDREN))
    children: list[int] = []
    with (
        said.open("wb") as out,  # not a pipe, which the children would hold open
        subprocess.Popen(
            [sys.executable, script, path, how], stdin=subprocess.PIPE, stdout=out, start_new_session=True
        ) as process,
    ):
        try:
            _wait_until(lambda: said.read_text().endswith("\n"))
            children = list(map(int, said.read_text().split()))
            lock = FileLock(str(path))
            assert not lock.acquire()
            if ending == "kill":
                process.kill()
                process.wait()
            else:
                assert process.stdin is not None
                process.stdin.close()
                _wait_until(lambda: "released" in said.read_text())
            for child in children:
                os.kill(child, 0)  # it is there
            _wait_until(lock.acquire)  # a child lets go of it as soon as it gets a turn
            lock.release()
        finally:
            for kill, number in [(os.killpg, process.pid), *((os.kill, child) for child in children)]:
                with suppress(ProcessLookupError):
                    kill(number, signal.SIGKILL)


def test_a_child_does_not_have_the_lock(tmp_path: Path) -> None:
    """In a forked child the lock counts as another process's, and nothing that the child does releases it."""
    path = f"{tmp_path}/lock"
    lock = FileLock(path)
    assert lock.acquire()
    child = os.fork()
    if not child:
        taken = lock.acquire()
        lock.release()
        os._exit(int(taken))
    assert os.waitpid(child, 0)[1] == 0
    assert not FileLock(path).acquire()
    lock.release()


def test_a_child_keeps_what_took_the_place_of_a_lost_connection(tmp_path: Path) -> None:
    """A descriptor that was closed behind our back, and whose number was given to another file, is left alone."""
    descriptor = os.open(tmp_path / "connection", os.O_RDWR | os.O_CREAT)
    keep_from_children(descriptor)
    os.close(descriptor)
    reading, writing = os.pipe()
    assert descriptor in (reading, writing)
    child = os.fork()
    if not child:
        os.write(writing, b"x")
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.waitpid(child, 0)
    let_go(descriptor)
    os.close(reading)


def _main_guarded(script: str) -> str:
    body = "".join(f"    {line}\n" for line in script.splitlines())
    return f"if __name__ == '__main__':\n{body}"


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
