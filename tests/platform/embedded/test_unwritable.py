"""A journal that can't be written for a while: locked by another process, or refused by the disk."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from gqlplugin.errors import InvalidInputError, OutcomeUnknownError, PlatformUnavailableError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.rows import job_row
from gqlplugin.platform.embedded.writer import Part, Writer
from gqlplugin.runs import ExecutionStatus, JobStatus
from gqlplugin.testing import MemoryPlatform
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.contract.support import all_runs, ended, in_status, jobs_of, output_of, until
from tests.platform.embedded.support import ALICE, ROOT, executing, logged, query, workflow_of

pytestmark = pytest.mark.anyio


@create_workflow_job(name="echo-job")
async def echo(input: str) -> str:
    return input


echoing = create_workflow(name="echoing", main_job=echo)
approval = define_wait_point("approval", payload=str, result=str)


def writer_of(platform: EmbeddedPlatform) -> Writer:
    journal, _ = platform._entering.opened()
    return journal.writer


async def be_impatient(platform: EmbeddedPlatform) -> None:
    """Have the first write that finds the file locked fail soon, not after the usual five seconds."""
    await writer_of(platform).call(lambda connection: connection.execute("PRAGMA busy_timeout = 50").fetchone())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes to the file, and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@asynccontextmanager
async def unwritable(platform: EmbeddedPlatform, path: Path) -> AsyncIterator[None]:
    """The file is locked, and the platform has noticed."""
    await be_impatient(platform)
    with locked(path):
        with pytest.raises(PlatformUnavailableError):
            await echoing.trigger("refused")
        yield


async def test_effects_happen_once_while_the_file_is_locked(tmp_path: Path) -> None:
    """Jobs that end while another process holds the file have run once when it lets go; starts meanwhile fail soon."""
    path = tmp_path / "journal.sqlite"
    effects: Counter[int] = Counter()
    release = asyncio.Event()

    @create_workflow_job(name="charge")
    async def charge(number: int) -> int:
        if number:
            await release.wait()
        effects[number] += 1
        return number

    @create_workflow_job(name="main-job")
    async def main() -> int:
        await charge.trigger(0)
        return await charge.trigger(1)

    charging = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), charging, echoing):
        run_ids = [await charging.trigger() for _ in range(20)]
        await until(lambda: asyncio.sleep(0, effects[0] == 20))
        async with unwritable(platform, path):
            release.set()
            await until(lambda: asyncio.sleep(0, effects[1] == 20))
            for _ in range(10):
                async with asyncio.timeout(3):
                    with pytest.raises(PlatformUnavailableError):
                        await echoing.trigger("refused")
        assert [await output_of(platform, run_id) for run_id in run_ids] == [1] * 20
        assert await output_of(platform, await echoing.trigger("taken")) == "taken"
        assert len(await all_runs(platform)) == 21
    assert effects == {0: 20, 1: 20}
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


async def test_what_a_job_started_or_waits_for_is_kept_too(tmp_path: Path) -> None:
    """A workflow that a job starts, and a wait that it begins, are written once the file can be: each once."""
    path = tmp_path / "journal.sqlite"
    ran: Counter[str] = Counter()

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        ran[input] += 1
        if input == "waits":
            return await approval.wait("please")
        if input == "starts one":
            return await echoing.trigger("one", idempotency_key="a-key")
        return ",".join(await echoing.trigger_many(["one", "two"]))

    working = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), working, echoing):
        inputs = ["waits", "starts one", "starts two"]
        await be_impatient(platform)
        run_ids = {one: await working.trigger(one) for one in inputs}
        with locked(path):  # from here on, before they have committed anything
            await until(lambda: asyncio.sleep(0, len(ran) == 3))
            await until(lambda: asyncio.sleep(0, not writer_of(platform).writable.is_set()))
        await in_status(platform, run_ids["waits"], ExecutionStatus.WAITING)
        await platform.resolve(run_ids["waits"], "approval", '"yes"')
        assert await output_of(platform, run_ids["waits"]) == "yes"
        assert await output_of(platform, await output_of(platform, run_ids["starts one"])) == "one"
        started = (await output_of(platform, run_ids["starts two"])).split(",")
        assert [await output_of(platform, run_id) for run_id in started] == ["one", "two"]
        assert len(await all_runs(platform)) == 6
    assert ran == {"waits": 2, "starts one": 1, "starts two": 1}  # what waited runs from its top when it is answered


async def test_a_run_canceled_while_its_outcome_waits(tmp_path: Path) -> None:
    """A cancel that arrived before is obeyed: the job that has run is recorded, and nothing follows it."""
    path = tmp_path / "journal.sqlite"
    ran: list[str] = []
    began, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="step-job")
    async def step(input: str) -> str:
        ran.append(input)
        began.set()
        await release.wait()
        return input

    @create_workflow_job(name="main-job")
    async def main() -> str:
        await step.trigger("first")
        return await step.trigger("second")

    steps = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), steps, echoing):
        run_id = await steps.trigger()
        await began.wait()
        async with unwritable(platform, path):
            release.set()
            await until(lambda: asyncio.sleep(0, "0.0" in writer_of(platform)._batch.recorded[run_id].jobs))
            assert platform._worker is not None
            platform._worker._runner._active[run_id][1].cancel()  # as when another process has left the request
        assert (await ended(platform, run_id)).status is ExecutionStatus.CANCELED
        jobs = await jobs_of(platform, run_id)
        assert jobs["main-job/step-job"].status is JobStatus.SUCCESS
    assert ran == ["first"]


async def test_leaving_ends_the_waiting(tmp_path: Path) -> None:
    """A platform that ends meanwhile ends after its grace; the job runs again at the next start, and not for ever."""
    path = tmp_path / "journal.sqlite"
    ran: list[int] = []
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> int:
        ran.append(len(ran))
        await release.wait()
        return ran[-1]

    waiting = workflow_of(main)
    async with AsyncExitStack() as stack:
        platform = EmbeddedPlatform(path, shutdown_grace=timedelta(milliseconds=100))
        await stack.enter_async_context(executing(platform, waiting, echoing))
        run_id = await waiting.trigger()
        await in_status(platform, run_id, ExecutionStatus.RUNNING)
        async with unwritable(platform, path), asyncio.timeout(20):
            release.set()
            await until(lambda: asyncio.sleep(0, run_id in writer_of(platform)._batch.recorded))
            await stack.aclose()
    assert query(path, "SELECT status FROM run WHERE id = ?", run_id) == [("RUNNING",)]
    async with executing(platform := EmbeddedPlatform(path), waiting, echoing):
        assert await output_of(platform, run_id) == 1
    assert ran == [0, 1]


@pytest.mark.parametrize("make", [EmbeddedPlatform, lambda _: MemoryPlatform()])
async def test_what_sqlite_refuses_fails_its_own_run(tmp_path: Path, make: Callable[[Path], EmbeddedPlatform]) -> None:
    """A row that can never be written fails its run with a code, and all others of the same transaction are written."""
    release = asyncio.Event()
    ran: list[str] = []

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        ran.append(input)
        await release.wait()
        if input == "poison":
            outcome = platform._worker and platform._worker._runner._active[poison][1]
            assert outcome
            assert outcome._main is not None
            object.__setattr__(outcome._main, "stacked_name", "half a surrogate pair: \ud800")
        return input

    working = workflow_of(main)
    async with executing(platform := make(tmp_path / "journal.sqlite"), working):
        poison = await working.trigger("poison")
        others = [await working.trigger(str(number)) for number in range(30)]
        await until(lambda: asyncio.sleep(0, len(ran) == 31))
        with logged() as lines:
            release.set()
            assert [await output_of(platform, run_id) for run_id in others] == [str(number) for number in range(30)]
            run = await ended(platform, poison)
        assert run.status is ExecutionStatus.FAILED
        assert run.error is not None
        assert run.error.code == "UNRECORDABLE"
        assert "surrogate" not in run.error.message
        assert [line for line in lines if "refuses" in line]
        await platform.resume(poison)
        await until(lambda: asyncio.sleep(0, ran.count("poison") == 2))
        assert (await ended(platform, poison)).status is ExecutionStatus.FAILED
    assert len(ran) == 32


async def test_what_sqlite_refuses_of_a_caller_is_the_callers_error(tmp_path: Path) -> None:
    """A write that can never succeed is not called unavailable, and takes no other start with it."""
    async with executing(platform := EmbeddedPlatform(tmp_path / "journal.sqlite"), echoing):
        writer, part = writer_of(platform), Part()
        run_id = await echoing.trigger("x")
        assert await output_of(platform, run_id) == "x"
        (job,) = (await platform.get_jobs([run_id]))[run_id]
        part.put_job((*job_row(job)[:-1], 2**70))
        refused = writer.commit(part)
        starts = await asyncio.gather(*(echoing.trigger(str(number)) for number in range(10)))
        with pytest.raises(InvalidInputError):
            await refused
        assert [await output_of(platform, one) for one in starts] == [str(number) for number in range(10)]
        await platform.check_health()


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) {
    const char *name = getenv("SYNC_FAILS");
    if (!name || access(name, F_OK)) return 0;
    if (getenv("SYNC_FAILS_ONCE")) unlink(name);
    errno = EIO;
    return 1;
}
int fsync(int fd) { return fails() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { return fails() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that has `fsync` fail while a file is there."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = tmp_path_factory.mktemp("shim") / "sync.c"
    source.write_text(SHIM)
    library = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


async def start_and_die(path: Path, flag: Path) -> None:
    """In a process of its own: start a run while `fsync` fails, print what comes of it, and die."""
    async with EmbeddedPlatform(path) as platform:
        await platform.start_workflow("before", "1", caller=ALICE)
        await asyncio.to_thread(flag.touch)
        try:
            await platform.start_workflow("during", "1", caller=ALICE)
        except (PlatformUnavailableError, OutcomeUnknownError) as error:
            print(error.code, flush=True)  # noqa: T201 - the test reads it
        if not await asyncio.to_thread(flag.exists):
            await platform.start_workflow("after", "1", caller=ALICE)
        os._exit(0)


@pytest.mark.slow
@pytest.mark.parametrize("once", [True, False])
async def test_a_start_whose_sync_failed(tmp_path: Path, shim: Path, once: bool) -> None:
    """A start is called unavailable only if it is certain that no crash brings it back; else its outcome is unknown."""
    path, flag = tmp_path / "journal.sqlite", tmp_path / "fails"
    environment = {**os.environ, "LD_PRELOAD": str(shim), "SYNC_FAILS": str(flag), "PYTHONPATH": str(ROOT)}
    if once:
        environment["SYNC_FAILS_ONCE"] = "1"
    command = [sys.executable, "-m", __name__, str(path), str(flag)]
    run = partial(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    process = await asyncio.to_thread(run)
    assert process.stdout.split() == ["PLATFORM_UNAVAILABLE" if once else "OUTCOME_UNKNOWN"], process.stderr
    async with EmbeddedPlatform(path) as platform:
        names = sorted(run.workflow_name for run in await all_runs(platform))
    if once:
        assert names == ["after", "before"]
    else:  # what SQLite finds in the WAL decides, and after a power cut the disk
        assert names in (["before"], ["before", "during"])


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
async def test_effects_happen_once_on_a_full_file_system(tmp_path: Path) -> None:
    """The same on a real file system without space."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", directory], check=False)  # noqa: ASYNC221
    if mounted.returncode:
        pytest.skip("this container may not mount")
    effects: Counter[int] = Counter()
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main(number: int) -> int:
        await release.wait()
        effects[number] += 1
        return number

    charging = workflow_of(main)
    try:
        async with executing(platform := EmbeddedPlatform(directory / "journal.sqlite"), charging, echoing):
            run_ids = [await charging.trigger(number) for number in range(10)]
            await in_status(platform, run_ids[-1], ExecutionStatus.RUNNING)
            fill = directory / "fill"
            with suppress(OSError), fill.open("wb", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass
            release.set()
            await until(lambda: asyncio.sleep(0, not writer_of(platform).writable.is_set()))
            with pytest.raises(PlatformUnavailableError):
                await echoing.trigger("refused")
            fill.unlink()
            assert [await output_of(platform, run_id) for run_id in run_ids] == list(range(10))
        assert set(effects.values()) == {1}
    finally:
        subprocess.run(["umount", directory], check=True)  # noqa: ASYNC221


if __name__ == "__main__":
    asyncio.run(start_and_die(Path(sys.argv[1]), Path(sys.argv[2])))
