"""One failure of a thread, a connection or a task: what was asked then fails or waits, and all goes on by itself."""

import asyncio
import errno
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gqlplugin import tasks
from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform, worker
from gqlplugin.platform.embedded.file import open_writer
from gqlplugin.platform.embedded.journal import Changes, Journal
from gqlplugin.platform.embedded.reader import count_jobs
from gqlplugin.platform.embedded.writer import Writer
from gqlplugin.runs import ExecutionStatus
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended, in_status, output_of, until
from tests.platform.embedded.support import ALICE, executing, logged, no_descriptors, workflow_of

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def restart_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed starts again after a moment."""
    monkeypatch.setattr(tasks, "RESTART_SECONDS", 0.01)
    monkeypatch.setattr(worker, "_AGAIN_SECONDS", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.sqlite"


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def failing_once(work: Callable[..., Awaitable[Any]], error: BaseException) -> Callable[..., Awaitable[Any]]:
    """Something that fails at its first call."""
    failures = [error]

    async def call(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await work(*args, **options)

    return call


@create_workflow_job(name="echo-job")
async def echo(input: str) -> str:
    return input


@create_workflow_job(name="lasts")
async def lasts() -> None:
    await asyncio.Event().wait()


echoing = create_workflow(name="echoing", main_job=echo)


async def test_reads_without_descriptors_fail_then_and_work_later(path: Path) -> None:
    """A reader that could not open the file opens it at the next read; callers may try again."""
    async with EmbeddedPlatform(path) as platform:
        run_id = await echoing.trigger("x")
        with no_descriptors():
            answers = await asyncio.gather(*(platform.get_execution(run_id) for _ in range(10)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [PlatformUnavailableError] * 10
        assert all(isinstance(answer, PlatformUnavailableError) and answer.retryable for answer in answers)
        found = await asyncio.gather(*(platform.get_execution(run_id) for _ in range(10)))
        assert {run.id for run in found} == {run_id}


async def test_reads_without_threads_fail_then_and_work_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that could not be started is started at the next read."""
    async with EmbeddedPlatform(path) as platform:
        run_id = await echoing.trigger("x")
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(PlatformUnavailableError):
                await platform.get_execution(run_id)
        assert (await platform.get_execution(run_id)).id == run_id


async def test_a_read_that_fails_leaves_nothing_behind(path: Path) -> None:
    """Its connection is closed: one in the middle of a transaction would show the file as it was for ever."""

    def break_off(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        count_jobs(connection)
        connection.execute("SELECT no_such_column FROM run")

    async with executing(platform := EmbeddedPlatform(path), echoing):
        journal, _ = platform._entering.opened()
        for _ in range(4):
            with pytest.raises(PlatformUnavailableError):
                await journal.reader.read(break_off)
        await output_of(platform, await echoing.trigger("x"))
        assert [await platform.count_jobs() for _ in range(4)] == [1] * 4


async def test_the_writer_goes_on_after_any_error(path: Path) -> None:
    """Of what it writes, of who is called after a commit, and of what is no `Exception`."""

    def fail(*_: object) -> None:
        raise RuntimeError

    def end(_: sqlite3.Connection) -> None:
        raise SystemExit

    writer = Writer(open_writer(str(path)), None, fail, fail)
    with logged() as lines:
        async with asyncio.timeout(60):
            with pytest.raises(PlatformUnavailableError):
                await writer.call(end)
            writer.poll()
            assert await writer.call(count_jobs, fail) == 0
            assert await writer.call(count_jobs) == 0
            await writer.close()
    assert set(lines[1:]) == {"What follows a transaction failed"}


async def test_watchers_are_told_after_a_comparison_failed() -> None:
    """Nobody waits for ever because what changed could not be found out."""

    async def read_marks(_: object) -> Any:
        raise RuntimeError

    reads = 0

    async def read() -> Any:
        nonlocal reads
        reads += 1
        return reads

    changes = Changes(read_marks)
    watched: Any
    with changes.of("a-run", read) as watched:
        number, _ = await watched.now()
        changes.tell()
        async with asyncio.timeout(60):
            _, answer = await watched.next(number)
    assert answer == reads
    assert reads == 2


@pytest.mark.parametrize("error", [PlatformUnavailableError(), RuntimeError()])
async def test_a_cancel_that_could_not_be_read_is_read_again(path: Path, error: Exception) -> None:
    """The running job is told to stop without another change of the file."""
    async with executing(platform := EmbeddedPlatform(path), workflow_of(lasts)):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        await in_status(platform, run_id, ExecutionStatus.RUNNING)
        assert platform._worker is not None
        runner: Any = platform._worker._runner
        runner.heed_cancels = failing_once(runner.heed_cancels, error)
        await platform.cancel(run_id)
        assert (await ended(platform, run_id)).status is ExecutionStatus.CANCELED


@pytest.mark.parametrize("error", [PlatformUnavailableError(), RuntimeError()])
async def test_a_process_that_could_not_take_over_tries_again(path: Path, error: Exception) -> None:
    """It holds the lock by then, so nobody else would execute the file."""
    async with executing(EmbeddedPlatform(path), echoing):
        second = EmbeddedPlatform(path)
        entered, leave = asyncio.Event(), asyncio.Event()

        async def stand_by() -> None:
            async with executing(second, echoing):
                entered.set()
                await leave.wait()

        standing_by = asyncio.create_task(stand_by())
        await entered.wait()
        assert second._worker is not None
        lock = second._worker._lock
        runner: Any = second._worker._runner
        assert lock is not None
        failures = 3

        def acquire() -> bool:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return type(lock).acquire(lock)

        runner.start = failing_once(runner.start, error)
        lock.acquire = acquire  # type: ignore[method-assign]  # a few times
        with logged() as lines:
            await until(lambda: asyncio.sleep(0, failures < 0))
    assert sum("can't take over" in line for line in lines) == 1
    await output_of(second, await second.start_workflow("echoing", '"x"', caller=ALICE))
    leave.set()
    await standing_by


async def test_a_journal_that_can_not_be_opened_now_can_be_later(path: Path) -> None:
    """Nothing is left of the first try."""
    platform = EmbeddedPlatform(path)
    with no_descriptors(), pytest.raises(Exception, match="journal"):
        await platform.__aenter__()
    async with executing(platform, echoing):
        assert await output_of(platform, await echoing.trigger("x")) == "x"


async def test_a_timer_whose_listener_fails_goes_on(path: Path) -> None:
    """Commits of other processes are still noticed."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    journal = await Journal.open(str(path))
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1
        raise RuntimeError

    journal.on_poll = poll
    try:
        await until(lambda: asyncio.sleep(0, polls > 2))
    finally:
        await journal.close()
        loop.set_exception_handler(None)


async def test_a_plain_job_waits_for_a_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It did not run, so the run has not failed."""
    monkeypatch.setattr("gqlplugin.platform.threads._RETRY_SECONDS", 0.01)

    @create_workflow_job(name="plain")
    def plain() -> str:
        return "ran"

    async with executing(
        platform := EmbeddedPlatform(path, shutdown_grace=timedelta()), workflow := workflow_of(plain)
    ):
        with monkeypatch.context() as patch:
            tries = 0

            def start(thread: threading.Thread) -> None:
                nonlocal tries
                tries += 1
                no_thread(thread)

            run_id = await workflow.trigger()
            await output_of(platform, run_id)
            patch.setattr(threading.Thread, "start", start)
            run_id = await workflow.trigger()
            await until(lambda: asyncio.sleep(0, tries > 2))
        assert await output_of(platform, run_id) == "ran"
