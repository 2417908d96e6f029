"""Processes whose system calls are counted: each is killed before one of them, or logs what it writes.

One process is started with the library of `system_calls.c` in it, and forked for each life, so that a life takes
milliseconds. A life starts runs, runs their jobs, answers and cancels, and notes what it was told in a file.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded import journal as journal_module
from gqlplugin.runs import ExecutionFilter, WaitFilter, WorkflowExecution
from gqlplugin.workflow import trigger_workflow
from tests.crash import shop
from tests.crash.server import JOURNAL
from tests.crash.shop import Step, define_shop

ACKNOWLEDGED = "acknowledged"
STARTS = {1: "leaf", 2: "spawning", 3: "flaky", 4: "asking", 5: "asking"}
CANCELED = 5
"""The start that is canceled, and so never answered."""

_ROOT = Path(__file__).parents[2]
_SOURCE = Path(__file__).with_suffix(".c")
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Life:
    """What one process is to do.

    Attributes:
        directory: Where the journal is.
        kill_at: The number of the system call before which it is killed; 0 is never.
        log: Where it logs its system calls; None is nowhere.
        is_synced: False leaves out `fsync`, which is to be noticed.
    """

    directory: str
    kill_at: int = 0
    log: str | None = None
    is_synced: bool = True


@dataclass(frozen=True)
class Call:
    """A system call as it was logged: w(rite), t(runcate), s(ync), u(nlink)."""

    kind: str
    path: str
    offset: int
    data: bytes


class Lives:
    """Starts processes, seen from the harness.

    Args:
        compiler: The C compiler.
        directory: Where the library is put.
    """

    def __init__(self, compiler: str, directory: Path) -> None:
        library = directory / "system_calls.so"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, _SOURCE, "-lpthread"], check=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.system_calls", library],
            env=os.environ | {"LD_PRELOAD": str(library)},
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def live(self, life: Life) -> tuple[int, int]:
        """Have a process live; the status that it ended with, and how many calls it made if it was not killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(asdict(life))}\n")
        self._process.stdin.flush()
        status, calls = json.loads(self._process.stdout.readline())
        return status, calls

    def close(self) -> None:
        """End the process that is forked."""
        self._process.communicate(timeout=60)


def find_compiler() -> str | None:
    """A C compiler, where libraries can be preloaded."""
    return shutil.which("cc") if sys.platform == "linux" else None


def acknowledged_in(text: str) -> list[tuple[str, list[Any]]]:
    """What a life was told, as (what, details): the last line may be torn."""
    lines = text.split("\n")[:-1]
    return [(what, details) for what, details in map(json.loads, lines)]


def calls_in(log: Path) -> Iterator[Call]:
    """The system calls of a log."""
    record, data, at = struct.Struct("=cHIq"), log.read_bytes(), 0
    while at < len(data):
        kind, path_length, length, offset = record.unpack_from(data, at)
        at += record.size
        path = data[at : at + path_length].decode()
        at += path_length
        yield Call(kind.decode(), path, offset, data[at : at + length])
        at += length


def _main(library: str) -> None:
    """Fork for each life that is asked for."""
    logging.disable()  # runs fail as they are meant to
    shim = ctypes.CDLL(library)
    shim.calls_made.restype = ctypes.c_long
    for line in sys.stdin:
        life = Life(**json.loads(line))
        receive, send = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(receive)
            _live(life, shim)
            os.write(send, str(shim.calls_made()).encode())
            os._exit(0)
        os.close(send)
        calls = os.read(receive, 100)
        os.close(receive)
        _, status = os.waitpid(pid, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), int(calls or 0)]), flush=True)  # noqa: T201 - the answer


def _live(life: Life, shim: ctypes.CDLL) -> None:
    shop.LONGEST_WORK_SECONDS = 0.001
    journal: Any = journal_module
    open_writer = journal.open_writer

    def open_with_settings(path: str) -> Any:
        connection = open_writer(path)
        connection.execute("PRAGMA wal_autocheckpoint = 30")  # so that a short life has several
        if not life.is_synced:
            connection.execute("PRAGMA synchronous = OFF")
        return connection

    journal.open_writer = open_with_settings
    log = -1 if life.log is None else os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    shim.arm(life.directory.encode(), ctypes.c_long(life.kill_at), log)
    asyncio.run(_serve(Path(life.directory)))


async def _serve(directory: Path) -> None:
    file = os.open(directory / ACKNOWLEDGED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def acknowledge(what: str, *details: object) -> None:
        os.write(file, f"{json.dumps([what, details])}\n".encode())

    async def start(n: int) -> None:
        run_id = await trigger_workflow(STARTS[n], Step(n=n, step="main"), idempotency_key=f"key-{n}")
        acknowledge("start", n, run_id)

    platform = EmbeddedPlatform(directory / JOURNAL)
    async with asyncio.timeout(_PATIENCE_SECONDS), platform, platform.execute(define_shop(directory)):
        answerer = asyncio.create_task(_answer(platform, acknowledge))
        await start(1)
        await asyncio.gather(*(start(n) for n in STARTS if n > 1))
        while not all(run.status.is_final for run in await _runs(platform)):
            assert not answerer.done(), answerer.exception()
            await asyncio.sleep(0.005)
        answerer.cancel()


async def _answer(platform: EmbeddedPlatform, acknowledge: Any) -> None:
    """Answer whatever asks, with the number it asks for, and cancel the one that is to be canceled."""
    while True:
        await asyncio.sleep(0.005)
        for wait in (await platform.list_waits(WaitFilter(name="answers"), first=100)).waits:
            said = json.loads(wait.payload)
            try:
                if said["n"] == CANCELED:
                    await platform.cancel(wait.execution.id)
                    acknowledge("cancel", CANCELED)
                else:
                    answer = json.dumps(said["n"] * said["number"])
                    await platform.resolve(wait.execution.id, "answers", answer, job_id=wait.job_id)
                    acknowledge("answer", said["n"], said["number"])
            except FailedPreconditionError:
                pass  # it has gone on since it was listed


async def _runs(platform: EmbeddedPlatform) -> list[WorkflowExecution]:
    return list((await platform.list_executions(ExecutionFilter(), first=100)).executions)


if __name__ == "__main__":
    _main(sys.argv[1])
