"""Files of an open journal that are deleted or replaced: nothing is acknowledged that a restart would not find."""

import asyncio
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.file import JournalFiles
from gqlplugin.runs import ExecutionStatus
from gqlplugin.workflow import create_workflow
from tests.contract.support import all_runs, in_status, output_of, until
from tests.platform.embedded.support import executing, logged, query, workflow_of

pytestmark = pytest.mark.anyio


@create_workflow_job(name="echo-job")
async def echo(input: str) -> str:
    return input


echoing = create_workflow(name="echoing", main_job=echo)


def delete_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.sqlite"))


def replace_by_a_copy(path: Path) -> None:
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    copy.replace(path)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def delete_wal(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def delete_shm(path: Path) -> None:
    Path(f"{path}-shm").unlink()


def delete_lock(path: Path) -> None:
    Path(f"{path}.lock").unlink()


@pytest.mark.parametrize(
    "break_it", [delete_all, move, replace_by_a_copy, truncate, delete_wal, delete_shm, delete_lock]
)
async def test_no_start_is_acknowledged_that_a_restart_would_not_find(
    tmp_path: Path, break_it: Callable[[Path], None]
) -> None:
    """The next start fails, the log says once which file it is, and jobs stop; a restart has what is in the file."""
    path = tmp_path / "journal.sqlite"
    stopped: list[str] = []

    @create_workflow_job(name="main-job")
    async def main() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append("main")
            raise

    endless = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), endless, echoing):
        acknowledged = [await echoing.trigger(str(number)) for number in range(5)]
        await output_of(platform, acknowledged[-1])
        acknowledged.append(await endless.trigger())
        await in_status(platform, acknowledged[-1], ExecutionStatus.RUNNING)
        with logged() as lines:
            break_it(path)
            for _ in range(5):
                with pytest.raises(PlatformUnavailableError) as caught:
                    await echoing.trigger("later")
                assert str(tmp_path) not in caught.value.message
            await until(lambda: asyncio.sleep(0, stopped))
            with pytest.raises(PlatformUnavailableError):
                await platform.check_health()
        assert len([line for line in lines if "is lost to this process" in line]) == 1
    if break_it in (replace_by_a_copy, delete_wal, delete_shm, delete_lock):
        async with EmbeddedPlatform(path) as platform:
            known = {run.id for run in await all_runs(platform)}
        # what was only in the WAL that was deleted is gone with it, and was acknowledged before
        assert break_it in (delete_wal, replace_by_a_copy) or set(acknowledged) <= known


async def test_a_second_executor_takes_over_from_one_whose_lock_was_deleted(tmp_path: Path) -> None:
    """The first notices that it executes the file no longer, and stops; the other goes on with its runs."""
    path = tmp_path / "journal.sqlite"
    running: set[int] = set()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        me = id(asyncio.current_task())
        try:
            running.add(me)
            await asyncio.Event().wait()
        finally:
            running.discard(me)

    endless = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), endless):
        run_id = await endless.trigger()
        await in_status(platform, run_id, ExecutionStatus.RUNNING)
        (first,) = running
        delete_lock(path)
        async with executing(second := EmbeddedPlatform(path, shutdown_grace=timedelta(0)), endless):
            await until(lambda: asyncio.sleep(0, running and first not in running))
            assert len(running) == 1
            with pytest.raises(PlatformUnavailableError):
                await platform.start_workflow(
                    "the-workflow", "null", caller=(await second.get_execution(run_id)).caller
                )
            await second.check_health()


async def test_a_vacuum_is_no_loss(tmp_path: Path) -> None:
    """A journal that an operator makes smaller with VACUUM goes on."""
    path = tmp_path / "journal.sqlite"
    async with executing(platform := EmbeddedPlatform(path), echoing):
        for _ in range(20):
            await output_of(platform, await echoing.trigger("x" * 200_000))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = path.stat().st_size
            connection.execute("DELETE FROM job")
            connection.execute("DELETE FROM run")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.stat().st_size < before
        assert await output_of(platform, await echoing.trigger("still here")) == "still here"
        await platform.check_health()


async def test_a_wal_that_grows_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads without an end, the log has the size of the WAL each time that it has doubled."""
    path = tmp_path / "journal.sqlite"
    monkeypatch.setattr("gqlplugin.platform.embedded.file._LARGE_WAL_BYTES", 1024 * 1024)
    async with executing(platform := EmbeddedPlatform(path), echoing):
        with closing(sqlite3.connect(path, isolation_level=None)) as reader, logged(logging.WARNING) as lines:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM run").fetchone()
            while not [line for line in lines if "has 4 MiB" in line]:
                await output_of(platform, await echoing.trigger("x" * 300_000))
        sizes = [int(line.split(" has ")[1].split(" MiB")[0]) for line in lines if "grows" in line]
        assert len(sizes) == 3
        assert sizes == sorted(sizes)


async def test_a_link_to_the_file_is_followed(tmp_path: Path) -> None:
    """A path that is a symbolic link works; when it points elsewhere, the journal is lost."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real / "journal.sqlite")
    async with executing(platform := EmbeddedPlatform(link), echoing):
        assert await output_of(platform, await echoing.trigger("x")) == "x"
        link.unlink()
        (real / "other.sqlite").touch()
        link.symlink_to(real / "other.sqlite")
        with pytest.raises(PlatformUnavailableError):
            await echoing.trigger("x")
    assert query(real / "journal.sqlite", "SELECT count(*) FROM run") == [(1,)]


@pytest.mark.parametrize("path", ["", "file:journal.sqlite", "file:x?mode=memory"])
def test_paths_that_are_no_file_are_refused(path: str) -> None:
    """An empty path, for which SQLite makes a file that it deletes, and URIs."""
    with pytest.raises(ValueError, match="name a file"):
        EmbeddedPlatform(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """What is watched must be there."""
    with pytest.raises(FileNotFoundError):
        JournalFiles(str(tmp_path / "missing.sqlite"))
