"""What the tests of the command line share: commands in this process and in others, and the output they write."""

import asyncio
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO

from gqlplugin.app import App
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.cli import shop

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
OURS = ("GQLPLUGIN_", "TAILOR_", "PLATFORM_", "XDG_", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "COLUMNS", "LINES")
APP = ("-A", "tests.cli.shop:app")
ORDER = '{"order_id": "1", "total": 5}'


def command(*args: str) -> list[str]:
    """The command line, in a process of its own."""
    return [sys.executable, "-m", "gqlplugin.cli", *args]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What such a process finds around it: nothing that says where to look."""
    ours = (
        "GQLPLUGIN_",
        "TAILOR_",
        "PLATFORM_",
        "XDG_",
        "NO_COLOR",
        "FORCE_COLOR",
        "GITHUB_ACTIONS",
        "COLUMNS",
        "LINES",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(ROOT), "SHOP_GATES": str(folder), "HOME": str(folder), "TERM": "xterm", **more}


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run_command(
    folder: Path, *args: str, stdin: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, to its end."""
    return subprocess.run(
        command(*args),
        cwd=folder,
        env=environment(folder, **variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@dataclass
class Running:
    """A command that is running in a process of its own, and what it has written so far."""

    process: subprocess.Popen[bytes]
    lines: dict[str, list[str]] = field(default_factory=lambda: {"out": [], "err": []})
    _news: threading.Condition = field(default_factory=threading.Condition)

    def read(self, name: str, stream: IO[bytes]) -> None:
        """Take what it writes, until it ends."""
        for line in stream:
            with self._news:
                self.lines[name].append(line.decode().rstrip("\n"))
                self._news.notify_all()

    @property
    def out(self) -> str:
        return "\n".join(self.lines["out"])

    @property
    def err(self) -> str:
        return "\n".join(self.lines["err"])

    def says(self, text: str) -> str:
        """The line with this text, once it has been written."""
        with self._news:
            assert self._news.wait_for(lambda: self._find(text), PATIENCE_SECONDS), (text, self.lines)
        found = self._find(text)
        assert found is not None
        return found

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE_SECONDS)

    def _find(self, text: str) -> str | None:
        return next((line for lines in self.lines.values() for line in lines if text in line), None)


@contextmanager
def running(folder: Path, *args: str, **variables: str) -> Iterator[Running]:
    """A command that goes on for a while; it is ended with the block."""
    process = subprocess.Popen(
        command(*args),
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    seen = Running(process)
    readers = [
        threading.Thread(target=seen.read, args=("out", process.stdout)),
        threading.Thread(target=seen.read, args=("err", process.stderr)),
    ]
    for reader in readers:
        reader.start()
    try:
        yield seen
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for reader in readers:
            reader.join()
        process.stdout.close()
        process.stderr.close()


@contextmanager
def worker(path: Path, app: App = shop.app) -> Iterator[None]:
    """A thread that runs the jobs of a file, as `gqlplugin worker` does in a process."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def work() -> None:
        async with EmbeddedPlatform(path, shutdown_grace=timedelta(0)) as platform, platform.execute(app):
            started.set()
            await ending.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(work()))
    thread.start()
    try:
        assert started.wait(PATIENCE_SECONDS)
        yield
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.close()


def on_terminal(
    folder: Path, *args: str, until: str = "", then: Callable[[int], object] = lambda _: None, **variables: str
) -> tuple[int, str]:
    """Run a command on a terminal of its own, and return its exit code and all it wrote.

    Args:
        folder: Where it runs.
        args: The command.
        until: The text to wait for.
        then: What to do once it has been written; called with the terminal.
        variables: Of its environment.
    """
    master, slave = pty.openpty()
    settings = environment(folder, **{"COLUMNS": "100", "LINES": "30", **variables})
    process = subprocess.Popen(
        command(*args), cwd=folder, env=settings, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    written, waiting, deadline = b"", bool(until), time.monotonic() + PATIENCE_SECONDS
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                written += os.read(master, 65536)
            except OSError:  # how Linux says that nobody has the other side open
                break
            if waiting and until in plain(written.decode(errors="replace")):
                waiting = False
                then(process.pid)
        return process.wait(PATIENCE_SECONDS), written.decode()
    finally:
        process.kill()
        process.wait()
        os.close(master)


def plain(text: str) -> str:
    """What a terminal shows of a text, without colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")
