"""The process that is killed: it opens the journal, runs what is due, and starts what the harness asks for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import WaitFilter
from gqlplugin.workflow import trigger_workflow
from tests.crash.processes import MAX_RECOVERIES, context
from tests.crash.shop import Step, define_shop

JOURNAL = "journal.sqlite"
WITNESS = "witness"
KILLED = -signal.SIGKILL
_OPEN = 0


class Server:
    """A process that serves the journal of a directory, seen from the harness."""

    def __init__(self, directory: Path) -> None:
        self.connection, theirs = context.Pipe()
        self.process: ForkServerProcess = context.Process(target=_main, args=(str(directory), theirs))
        self.process.start()
        theirs.close()
        self.is_open = False

    def start(self, n: int, workflow: str, key: str | None) -> None:
        """Ask for a run; the answer comes with `answers`."""
        with suppress(BrokenPipeError):
            self.connection.send_bytes(json.dumps([n, workflow, key]).encode())

    def answers(self, timeout: float) -> list[tuple[int, str]]:
        """The acknowledged starts, as (n, run ID), that came within a time in seconds; at once when there is one.

        Raises:
            EOFError: The process has ended, and everything it said was heard.
        """
        found: list[tuple[int, str]] = []
        while self.connection.poll(0 if found else timeout):
            try:
                n, run_id = json.loads(self.connection.recv_bytes())
            except (EOFError, ConnectionResetError):
                if found:
                    break
                raise EOFError from None
            if n == _OPEN:
                self.is_open = True
                break
            found.append((n, run_id))
        return found

    def wait_until_open(self) -> None:
        """Wait until it has opened the journal."""
        while not self.is_open:
            assert not self.answers(60)

    def pause(self) -> None:
        """Stop the process where it is."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> int | None:
        """Kill the process; how it ended."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode

    def stop(self) -> int | None:
        """Let the process end by itself; how it ended."""
        self.connection.send_bytes(b"null")
        self.process.join(60)
        return self.process.exitcode

    def close(self) -> None:
        """Make sure that nothing is left of it."""
        self.kill()
        self.process.close()
        self.connection.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


def _main(directory: str, connection: Connection) -> None:
    asyncio.run(_serve(Path(directory), connection))


async def _serve(directory: Path, connection: Connection) -> None:
    ended = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    def receive() -> None:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:  # the harness is gone
            request = None
        if request is None:
            ended.set()
            return
        task = asyncio.create_task(_start(connection, *request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    app = define_shop(directory)
    platform = EmbeddedPlatform(directory / JOURNAL, max_recoveries=MAX_RECOVERIES)
    async with platform, platform.execute(app):
        loop = asyncio.get_running_loop()
        loop.add_reader(connection.fileno(), receive)
        connection.send_bytes(json.dumps([_OPEN, ""]).encode())
        answerer = asyncio.create_task(_answer(platform))
        await ended.wait()
        answerer.cancel()
        loop.remove_reader(connection.fileno())
        await asyncio.gather(*tasks)


async def _answer(platform: EmbeddedPlatform) -> None:
    """Answer whatever asks, with the number it asks for; twice at once, as two people may."""
    while True:
        await asyncio.sleep(0.01)
        page = await platform.list_waits(WaitFilter(name="answers"), first=100)
        for wait in page.waits:
            said = json.loads(wait.payload)
            answer = json.dumps(said["n"] * said["number"])
            tries = [platform.resolve(wait.execution.id, "answers", answer, job_id=wait.job_id) for _ in range(2)]
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            assert sum(outcome is None for outcome in outcomes) <= 1, "two answers were taken"
            unexpected = [one for one in outcomes if one is not None and not isinstance(one, FailedPreconditionError)]
            assert not unexpected, unexpected


async def _start(connection: Connection, n: int, workflow: str, key: str | None) -> None:
    run_id = await trigger_workflow(workflow, Step(n=n, step="main"), idempotency_key=key)
    connection.send_bytes(json.dumps([n, run_id]).encode())
