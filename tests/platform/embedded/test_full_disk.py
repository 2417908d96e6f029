"""A file that can't grow: starts are refused, outcomes are kept, and all goes on when there is space again."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus
from gqlplugin.workflow import create_workflow
from tests.contract.support import all_runs, ended, failed, in_status, jobs_of, output_of, until
from tests.platform.embedded.support import executing, logged, query, workflow_of

pytestmark = pytest.mark.anyio


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond the size of the journal's log."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@create_workflow_job(name="echo-job")
async def echo(input: str) -> str:
    return input


echoing = create_workflow(name="echoing", main_job=echo)


async def fill(platform: EmbeddedPlatform) -> None:
    """Make the log large enough that nothing else of this process reaches its size."""
    await output_of(platform, await echoing.trigger("x" * 500_000))


@pytest.mark.parametrize("key", [None, "a-key"])
async def test_a_start_without_space_is_refused_and_starts_nothing(tmp_path: Path, key: str | None) -> None:
    """While the disk is full a start is PLATFORM_UNAVAILABLE, reads work, and nothing is left of it afterwards."""
    path = tmp_path / "journal.sqlite"
    async with executing(platform := EmbeddedPlatform(path), echoing):
        await fill(platform)
        with full_disk(path):
            answers = await asyncio.gather(
                *(echoing.trigger(str(number), idempotency_key=key and f"{key}-{number}") for number in range(10)),
                return_exceptions=True,
            )
            assert [type(answer) for answer in answers] == [PlatformUnavailableError] * 10
            assert all(isinstance(answer, PlatformUnavailableError) and answer.retryable for answer in answers)
            assert all(str(tmp_path) not in str(answer) for answer in answers)
            assert len(await all_runs(platform)) == 1
        run_id = await echoing.trigger("again", idempotency_key=key and f"{key}-0")
        assert await output_of(platform, run_id) == "again"
        assert len(await all_runs(platform)) == 2
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("careless", [False, True])
async def test_what_ran_is_recorded_when_space_is_back(tmp_path: Path, careless: bool) -> None:
    """A job whose outcome can't be recorded waits with it and does not run again; the next one begins after that.

    So it does when the body gathers with `return_exceptions=True`.
    """
    path = tmp_path / "journal.sqlite"
    ran: list[str] = []
    began, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="step-job")
    async def step(input: str) -> str:
        ran.append(input)
        if input == "second":
            began.set()
            await release.wait()
        return input

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        steps = ["first", "second", "third"]
        if careless:
            results = await asyncio.gather(*(step.trigger(one) for one in steps), return_exceptions=True)
            return [str(one) for one in results]
        return [await step.trigger(one) for one in steps]

    steps = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), steps, echoing):
        await fill(platform)
        run_id = await steps.trigger()
        await began.wait()
        with logged() as lines:
            with full_disk(path):
                release.set()
                await until(lambda: asyncio.sleep(0, [line for line in lines if "can't be written" in line]))
                for _ in range(5):
                    with pytest.raises(PlatformUnavailableError):
                        await echoing.trigger("refused")
                    with pytest.raises(PlatformUnavailableError):
                        await platform.check_health()
                assert ran == ["first", "second"]
                assert not (await platform.get_execution(run_id)).status.is_final
            assert await output_of(platform, run_id) == ["first", "second", "third"]
        assert ran == ["first", "second", "third"]
        assert {job.status.value for job in (await jobs_of(platform, run_id)).values()} == {"SUCCESS"}
        assert len(await all_runs(platform)) == 2
        await platform.check_health()
    assert [line.partition(": ")[0].partition(", ")[0] for line in lines if str(path) in line] == [
        f"The journal {path} can't be written",
        f"The journal {path} can be written again",
    ]


async def test_no_job_begins_without_space(tmp_path: Path) -> None:
    """While the journal can't be written, a job that runs on triggers nothing, neither a job nor a workflow."""
    path = tmp_path / "journal.sqlite"
    ran: list[str] = []
    began, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="step-job")
    async def step() -> str:
        ran.append("step")
        return "done"

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        began.set()
        await release.wait()
        ran.append("main")
        return await step.trigger() if input == "triggers" else await echoing.trigger("from the job")

    working = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), working, echoing):
        await fill(platform)
        run_ids = [await working.trigger(one) for one in ("triggers", "starts")]
        await in_status(platform, run_ids[1], ExecutionStatus.RUNNING)
        with full_disk(path):
            with pytest.raises(PlatformUnavailableError):
                await echoing.trigger("refused")
            release.set()
            await until(lambda: asyncio.sleep(0, len(ran) == 2))
            for _ in range(5):
                with pytest.raises(PlatformUnavailableError):
                    await echoing.trigger("refused")
            assert ran == ["main", "main"]
        assert await output_of(platform, run_ids[0]) == "done"
        child = await output_of(platform, run_ids[1])
        assert await output_of(platform, child) == "from the job"
        assert len(await all_runs(platform)) == 4
    assert sorted(ran) == ["main", "main", "step"]


async def test_a_run_that_waits_for_space_keeps_its_slot(tmp_path: Path) -> None:
    """While the outcome of a run waits to be written, no other run of its workflow begins beyond the policy."""
    path = tmp_path / "journal.sqlite"
    ran: list[str] = []
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        ran.append(input)
        await release.wait()
        return input

    narrow = create_workflow(name="narrow", main_job=main, concurrency_policy=ConcurrencyPolicy(1))
    async with executing(platform := EmbeddedPlatform(path), narrow, echoing):
        await fill(platform)
        first, second = [await narrow.trigger(one) for one in ("first", "second")]
        await in_status(platform, first, ExecutionStatus.RUNNING)
        with logged() as lines, full_disk(path):
            release.set()
            await until(lambda: asyncio.sleep(0, [line for line in lines if "can't be written" in line]))
            with pytest.raises(PlatformUnavailableError):
                await platform.cancel(second)
            assert ran == ["first"]
        assert await output_of(platform, first) == "first"
        assert await output_of(platform, second) == "second"
    assert ran == ["first", "second"]


async def test_a_resume_without_space_changes_nothing(tmp_path: Path) -> None:
    """A resume that can't be written is PLATFORM_UNAVAILABLE; the run stays FAILED and can be resumed later."""
    path = tmp_path / "journal.sqlite"
    ran: list[int] = []

    @create_workflow_job(name="main-job")
    async def main() -> int:
        ran.append(1)
        if len(ran) == 1:
            raise RuntimeError
        return len(ran)

    failing = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), failing, echoing):
        await fill(platform)
        run_id = await failing.trigger()
        await failed(platform, run_id)
        with full_disk(path):
            with pytest.raises(PlatformUnavailableError):
                await platform.resume(run_id)
            assert (await platform.get_execution(run_id)).status is ExecutionStatus.FAILED
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == 2


async def test_leaving_without_space_loses_nothing(tmp_path: Path) -> None:
    """A platform that ends while the disk is full ends, and its runs go on at the next start."""
    path = tmp_path / "journal.sqlite"
    began, release = asyncio.Event(), asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> str:
        began.set()
        await release.wait()
        return "done"

    waiting = workflow_of(main)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(executing(platform := EmbeddedPlatform(path), waiting, echoing))
        await fill(platform)
        run_id = await waiting.trigger()
        await began.wait()
        with full_disk(path):
            release.set()
            await stack.aclose()
    async with executing(platform := EmbeddedPlatform(path), waiting, echoing):
        assert (await ended(platform, run_id)).output == '"done"'
