"""Files that can't be a journal: an error that says why, and the file left as it was."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.contract.support import all_runs, output_of
from tests.platform.embedded.support import ALICE, executing, query, who

pytestmark = pytest.mark.anyio


async def refusal(path: str | Path) -> str:
    """Why a file is refused."""
    with pytest.raises(FailedPreconditionError) as caught:
        async with EmbeddedPlatform(path):
            pass
    return caught.value.message


async def test_a_new_file_is_made_and_kept(tmp_path: Path) -> None:
    """A platform makes its file, and a second one finds the runs of the first in it."""
    path = tmp_path / "new.sqlite"
    async with executing(EmbeddedPlatform(path), who):
        run_id = await who.trigger("x")
    async with executing(platform := EmbeddedPlatform(str(path)), who):
        assert await output_of(platform, run_id)
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


async def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Platforms that make one file at the same moment all get it, whole."""
    path = tmp_path / "new.sqlite"
    async with AsyncExitStack() as stack:
        platforms = [EmbeddedPlatform(path) for _ in range(8)]
        await asyncio.gather(*(stack.enter_async_context(platform) for platform in platforms))
        run_ids = {await platform.start_workflow("x", "1", caller=ALICE) for platform in platforms}
        assert {run.id for run in await all_runs(platforms[0])} == run_ids


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Any other file is refused by its name and not touched."""
    path = tmp_path / "notes.txt"
    path.write_text("Not a database, but long enough to look like one. " * 100)
    before = path.read_bytes()
    assert "notes.txt" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    """A journal whose first page was overwritten is refused, not silently made anew."""
    path = tmp_path / "damaged.sqlite"
    async with EmbeddedPlatform(path):
        pass
    content = bytearray(path.read_bytes())
    content[:16] = b"x" * 16
    path.write_bytes(content)
    assert "damaged.sqlite" in await refusal(path)


async def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    """A file of no bytes is as good as none."""
    path = tmp_path / "empty.sqlite"
    path.touch()
    async with EmbeddedPlatform(path):
        pass
    assert query(path, "SELECT count(*) FROM run") == [(0,)]


async def test_the_database_of_another_application_is_refused(tmp_path: Path) -> None:
    """Somebody else's tables are left alone: the error says to give the journal a file of its own."""
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customer (id)")
    before = path.read_bytes()
    message = await refusal(path)
    assert "another application" in message
    assert "other.sqlite" in message
    assert query(path, "SELECT name FROM sqlite_schema") == [("customer",)]
    assert query(path, "PRAGMA user_version") == [(0,)]
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A file written by a newer version is refused, with both versions and what to do."""
    path = tmp_path / "newer.sqlite"
    async with EmbeddedPlatform(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    message = await refusal(path)
    assert "99" in message
    assert "upgrade" in message
    assert query(path, "PRAGMA user_version") == [(99,)]


async def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory in place of the file, and a file in a directory that isn't there."""
    assert str(tmp_path) in await refusal(tmp_path)
    assert "missing" in await refusal(tmp_path / "missing" / "x.sqlite")


async def test_a_place_where_nothing_can_be_written_is_refused() -> None:
    """A file system without writable files."""
    assert "/proc/x.sqlite" in await refusal("/proc/x.sqlite")


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory, and a process without the rights of root in it; root reads and writes whatever the modes say."""
    with TemporaryDirectory(dir="/tmp") as directory:  # tmp_path is closed to other users
        Path(directory).chmod(0o755)
        yield Path(directory)


@contextmanager
def as_nobody() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


async def test_a_read_only_file_is_refused() -> None:
    """A journal that may be read and not written is refused when it is opened, not at the first start."""
    with unprivileged() as directory:
        path = directory / "journal.sqlite"
        async with EmbeddedPlatform(path):
            pass
        path.chmod(0o444)
        directory.chmod(0o555)
        before = path.read_bytes()
        with as_nobody():
            message = await refusal(path)
            assert "journal.sqlite" in message
            assert "new.sqlite" in await refusal(directory / "new.sqlite")
        directory.chmod(0o755)
        assert path.read_bytes() == before
        assert [entry.name for entry in directory.iterdir()] == ["journal.sqlite"]


async def test_a_lock_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    """When the lock beside the file can't be taken for a reason other than another process, executing is refused."""
    path = tmp_path / "journal.sqlite"
    (tmp_path / "journal.sqlite.lock").mkdir()
    platform = EmbeddedPlatform(path)
    with pytest.raises(FailedPreconditionError, match="lock"):
        async with executing(platform, who):
            pass
    (tmp_path / "journal.sqlite.lock").rmdir()
    async with executing(platform, who):
        assert await output_of(platform, await who.trigger("x"))


async def test_a_refused_platform_can_be_opened_later(tmp_path: Path) -> None:
    """A platform whose file was refused is not half open: it opens once the file is put right."""
    path = tmp_path / "journal.sqlite"
    path.write_text("no database " * 1000)
    platform = EmbeddedPlatform(path)
    with pytest.raises(FailedPreconditionError):
        async with platform:
            pass
    path.unlink()
    async with executing(platform, who):
        assert await output_of(platform, await who.trigger("x"))


def open_files() -> list[str]:
    """What this process holds open."""
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


async def test_nothing_is_left_open(tmp_path: Path) -> None:
    """Once closed, a platform holds no file and no thread of its own."""
    path = tmp_path / "journal.sqlite"
    async with executing(platform := EmbeddedPlatform(path), who):
        assert await output_of(platform, await who.trigger("x"))
    assert not [name for name in open_files() if str(path) in name]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("gqlplugin")] == []


async def test_a_file_opened_and_closed_again_and_again_stays_whole(tmp_path: Path) -> None:
    """Twenty lives of one file, each with a run."""
    path = tmp_path / "journal.sqlite"
    for _ in range(20):
        async with executing(platform := EmbeddedPlatform(path), who):
            await output_of(platform, await who.trigger("x"))
    assert query(path, "SELECT status, count(*) FROM run GROUP BY status") == [("SUCCESS", 20)]


async def test_a_new_journal_is_for_its_owner_alone(tmp_path: Path) -> None:
    """What callers sent can be read by the user that the process runs as, and by nobody else."""
    async with executing(EmbeddedPlatform(tmp_path / "journal.sqlite"), who):
        await who.trigger("x")
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)}
    assert set(modes) >= {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite.lock"}
    assert set(modes.values()) == {0o600}


async def test_one_platform_can_be_entered_by_many_at_once(tmp_path: Path) -> None:
    """Tasks that enter the same platform at the same time share one journal, which the last one closes."""
    platform = EmbeddedPlatform(tmp_path / "journal.sqlite")

    async def enter_and_list() -> None:
        async with platform:
            assert await all_runs(platform) == []

    await asyncio.gather(*(enter_and_list() for _ in range(10)))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("gqlplugin")]
