"""What a restart finds in the file, and what waits in it."""

import asyncio
import gc
import signal
import sqlite3
import sys
import tracemalloc
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from gqlplugin.app import define_app
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, JobStatus, RetryPolicy
from gqlplugin.workflow import create_workflow
from tests.contract.support import all_runs, ended, failed, in_status, output_of, until
from tests.platform.embedded.support import ALICE, ROOT, executing, logged, query, workflow_of

pytestmark = pytest.mark.anyio


async def test_a_restart_finishes_everything_that_had_begun_or_waited(tmp_path: Path) -> None:
    """What an earlier life left RUNNING, PENDING or PENDING_RESUME ends, and no recorded job runs again."""
    path = tmp_path / "journal.sqlite"
    ran: Counter[str] = Counter()
    healthy = False

    @create_workflow_job(name="step-job")
    async def step(input: str) -> None:
        ran[f"step {input}"] += 1

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        ran[input] += 1
        await step.trigger(input)
        if input == "running" and not healthy:
            await asyncio.Event().wait()
        if input == "failing" and not healthy:
            raise RuntimeError
        return input

    policy = RetryPolicy(max_retries=3, initial_backoff=timedelta(hours=1), max_backoff=timedelta(hours=1))
    narrow = create_workflow(name="narrow", main_job=main, concurrency_policy=ConcurrencyPolicy(1))
    plain = create_workflow(name="plain", main_job=main)
    retried = create_workflow(name="retried", main_job=main, retry_policy=policy)
    platform = EmbeddedPlatform(path, shutdown_grace=timedelta(0))
    async with platform:
        async with executing(platform, narrow, plain, retried):
            running, pending = await narrow.trigger("running"), await narrow.trigger("pending")
            resumed, waiting = await plain.trigger("failing"), await retried.trigger("failing")
            await failed(platform, resumed)
            await in_status(platform, waiting, ExecutionStatus.PENDING_RETRY)
            await in_status(platform, running, ExecutionStatus.RUNNING)
        await platform.resume(resumed)
    statuses = dict(query(path, "SELECT id, status FROM run"))
    assert statuses == {
        running: "RUNNING",
        pending: "PENDING",
        resumed: "PENDING_RESUME",
        waiting: "PENDING_RETRY",
    }
    healthy = True
    async with executing(platform := EmbeddedPlatform(path), narrow, plain, retried):
        for run_id in (running, pending, resumed):
            assert (await ended(platform, run_id)).status is ExecutionStatus.SUCCESS
        assert (await platform.get_execution(waiting)).status is ExecutionStatus.PENDING_RETRY
    assert ran == {
        "running": 2,
        "step running": 1,
        "pending": 1,
        "step pending": 1,
        "failing": 3,
        "step failing": 2,
    }


async def test_a_backlog_beyond_the_slots_is_worked_off_oldest_first(tmp_path: Path) -> None:
    """Two hundred runs wait in the file for five slots: never more than five at once, and all end, in order."""
    path = tmp_path / "journal.sqlite"
    order: list[int] = []
    now, peak = 0, 0

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        nonlocal now, peak
        order.append(input)
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0)
        now -= 1
        return input

    one, two = (create_workflow(name=name, main_job=main) for name in ("one-workflow", "two-workflow"))
    platform = EmbeddedPlatform(path, max_concurrent_runs=5)
    async with platform:
        for number in range(200):
            await (two if number == 3 else one).trigger(number)
        async with executing(platform, one, two):
            tasks = len(asyncio.all_tasks())

            async def all_ended() -> bool:
                assert len(asyncio.all_tasks()) <= tasks + 5
                return not [run for run in await all_runs(platform) if not run.status.is_final]

            await until(all_ended)
    assert peak == 5
    assert sorted(order) == list(range(200))
    assert order.index(3) < 15


async def test_runs_that_wait_hold_no_task(tmp_path: Path) -> None:
    """Runs that are queued or back off are rows in the file: no task of the loop is theirs."""
    path = tmp_path / "journal.sqlite"
    release = asyncio.Event()

    @create_workflow_job(name="waits-job")
    async def waits() -> None:
        await release.wait()

    @create_workflow_job(name="fails-job")
    async def fails() -> None:
        raise RuntimeError

    policy = RetryPolicy(max_retries=1, initial_backoff=timedelta(hours=1), max_backoff=timedelta(hours=1))
    narrow = create_workflow(name="narrow", main_job=waits, concurrency_policy=ConcurrencyPolicy(1))
    retried = create_workflow(name="retried", main_job=fails, retry_policy=policy)
    async with executing(platform := EmbeddedPlatform(path), narrow, retried):
        before = len(asyncio.all_tasks())
        queued = [await narrow.trigger() for _ in range(100)]
        backing_off = [await retried.trigger() for _ in range(50)]
        for run_id in backing_off:
            await in_status(platform, run_id, ExecutionStatus.PENDING_RETRY)
        assert len(asyncio.all_tasks()) == before + 1
        release.set()
        assert (await ended(platform, queued[-1])).status is ExecutionStatus.SUCCESS


async def test_runs_that_have_ended_hold_no_memory(tmp_path: Path) -> None:
    """A process that has executed many runs is no larger for them."""

    @create_workflow_job(name="main-job")
    async def main() -> None:
        return None

    quick = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(tmp_path / "journal.sqlite"), quick):

        async def growth_of(count: int) -> int:
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            run_ids = await asyncio.gather(*(quick.trigger() for _ in range(count)))
            for run_id in run_ids:
                await ended(platform, run_id)
            del run_ids, run_id
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        tracemalloc.start()
        try:
            growths = [await growth_of(300) for _ in range(5)]
        finally:
            tracemalloc.stop()
    assert min(growths) < 300 * 40, "the ID of a run alone takes twice as much"


async def test_a_workflow_that_was_removed_leaves_its_runs_untouched(tmp_path: Path) -> None:
    """Runs of a workflow that the app no longer has wait in the file, and the log says how many of which."""
    path = tmp_path / "journal.sqlite"

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return "done"

    old, new = (create_workflow(name=name, main_job=main) for name in ("old-workflow", "new-workflow"))
    async with EmbeddedPlatform(path):
        pending = [await old.trigger() for _ in range(3)]
    with logged() as lines:
        async with executing(platform := EmbeddedPlatform(path), new):
            assert await output_of(platform, await new.trigger()) == "done"
            runs = [await platform.get_execution(run_id) for run_id in pending]
            assert {(run.status, run.error and run.error.code) for run in runs} == {
                (ExecutionStatus.PENDING, "UNKNOWN_WORKFLOW")
            }
    assert [line for line in lines if "old-workflow" in line and "3" in line]
    async with executing(platform := EmbeddedPlatform(path), old, new):
        assert query(path, "SELECT count(*) FROM run WHERE error IS NOT NULL") == [(0,)]
        for run_id in pending:
            assert await output_of(platform, run_id) == "done"


async def test_runs_of_an_unknown_workflow_are_reported_when_they_come(tmp_path: Path) -> None:
    """The process that executes says of the runs of another app why they wait, and logs each workflow once."""
    path = tmp_path / "journal.sqlite"

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return "done"

    ours, theirs = (create_workflow(name=name, main_job=main) for name in ("our-workflow", "their-workflow"))
    with logged() as lines:
        async with (
            executing(platform := EmbeddedPlatform(path), ours),
            EmbeddedPlatform(path) as other,
            other.execute(define_app("another-app", workflows=[theirs])),
        ):
            for _ in range(2):
                run_id = await theirs.trigger()
                async with asyncio.timeout(60):
                    async for run in other.watch(run_id):
                        if run.error is not None:
                            break
                assert run.status is ExecutionStatus.PENDING
                assert run.error is not None
                assert run.error.code == "UNKNOWN_WORKFLOW"
            assert await output_of(platform, await platform.start_workflow("our-workflow", "null", caller=ALICE))
            await platform.cancel(run_id)
            assert (await platform.get_execution(run_id)).error is None
    assert len([line for line in lines if "their-workflow" in line]) == 1


@pytest.mark.parametrize("key", [None, "a-key"])
async def test_a_cancelled_start_exists_or_not_and_if_so_runs(tmp_path: Path, key: str | None) -> None:
    """A start whose caller hangs up at any moment is lost or runs to its end; it is never there and forgotten."""

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        return input

    quick = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(tmp_path / "journal.sqlite"), quick):
        for turns in range(8):
            starts = [
                asyncio.create_task(quick.trigger(number, idempotency_key=key and f"{key}-{turns}-{number}"))
                for number in range(5)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
        assert await output_of(platform, await quick.trigger(99)) == 99
        runs = await all_runs(platform)
        assert len(runs) > 1
        for run in runs:
            assert await output_of(platform, run.id) is not None


async def test_a_job_that_logs_after_its_end_does_not_undo_it(tmp_path: Path) -> None:
    """A task left behind that logs in an ended job's name changes nothing in the file."""
    path = tmp_path / "journal.sqlite"
    release, logged_late = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> None:
        async def late() -> None:
            await release.wait()
            ctx.log.info("late")
            ctx.progress(0.1)
            await asyncio.sleep(0.1)  # twice as long as a note may take to be written
            logged_late.set()

        tasks.append(asyncio.create_task(late()))

    loose = workflow_of(main)
    async with executing(platform := EmbeddedPlatform(path), loose):
        run_id = await loose.trigger()
        await ended(platform, run_id)
        release.set()
        await logged_late.wait()
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.SUCCESS
    assert query(path, "SELECT status FROM run UNION ALL SELECT status FROM job") == [("SUCCESS",), ("SUCCESS",)]


class BrokenPolicy(RetryPolicy):
    """Fails where only the platform calls it."""

    def backoff(self, retry: int) -> timedelta:
        raise RuntimeError(f"no backoff for retry {retry}")


async def test_an_error_of_the_platform_does_not_run_a_job_over_and_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that the platform itself fails on is logged and left for the next start; others go on."""
    ran: Counter[str] = Counter()

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        ran[input] += 1
        if input == "bad":
            raise RuntimeError
        return input

    flow = create_workflow(name="flow", main_job=main, retry_policy=BrokenPolicy(max_retries=1))
    path = tmp_path / "journal.sqlite"
    async with executing(platform := EmbeddedPlatform(path), flow):
        bad = await flow.trigger("bad")
        async with EmbeddedPlatform(path) as other:  # its starts are found in the file, past the broken run
            for _ in range(3):
                good = await other.start_workflow("flow", '"good"', caller=ALICE)
                assert await output_of(other, good) == "good"
        assert not (await platform.get_execution(bad)).status.is_final
    assert ran == {"bad": 1, "good": 3}
    assert any(bad in record.getMessage() and record.exc_info for record in caplog.records)
    mended = create_workflow(name="flow", main_job=main)
    async with executing(platform := EmbeddedPlatform(path), mended):
        assert (await ended(platform, bad)).status is ExecutionStatus.FAILED
    assert ran["bad"] == 2


KILLER = """
import asyncio, os, sys
from gqlplugin import create_workflow, create_workflow_job, define_app
from gqlplugin.platform.embedded import EmbeddedPlatform

@create_workflow_job(name="killer-job")
async def killer() -> str:
    if sys.argv[2] == "later":
        await asyncio.sleep(0.2)  # by then the file says that it is RUNNING
    if sys.argv[2] != "heal":
        os.kill(os.getpid(), 9)
    return "healed"

workflow = create_workflow(name="killer", main_job=killer)

async def main():
    platform = EmbeddedPlatform(sys.argv[1], max_recoveries=2)
    async with platform, platform.execute(define_app("app", workflows=[workflow])):
        run_id = sys.argv[3] if len(sys.argv) > 3 else await workflow.trigger()
        if sys.argv[2] == "heal":
            await platform.resume(run_id)
        async for run in platform.watch(run_id):
            pass

asyncio.run(main())
"""


BESIDE = """
from gqlplugin.runs import ExecutionFilter

@create_workflow_job(name="quiet-job")
async def quiet_job() -> None:
    await asyncio.sleep(0.3)

quiet = create_workflow(name="quiet", main_job=quiet_job)

async def beside():
    platform = EmbeddedPlatform(sys.argv[1], max_recoveries=1)
    async with platform:
        page = await platform.list_executions(ExecutionFilter(), first=10)
        runs = [run.id for run in page.executions]
        if not runs:
            runs = [await one.trigger() for one in (quiet, workflow, quiet)]
        async with platform.execute(define_app("app", workflows=[workflow, quiet])):
            for run_id in runs:
                async for run in platform.watch(run_id):
                    pass

asyncio.run(beside())
"""


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_run_that_kills_its_process_is_given_up(tmp_path: Path, when: str) -> None:
    """After as many tries as there may be it is FAILED with a code and a reason, and a resume begins a new count."""
    path = tmp_path / "journal.sqlite"

    async def start_process(*args: str) -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLER, str(path), *args, cwd=ROOT)
        return await asyncio.wait_for(process.wait(), 60)

    assert await start_process(when) == -signal.SIGKILL
    ((run_id,),) = query(path, "SELECT id FROM run")
    assert [await start_process(when, run_id) for _ in range(3)] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    async with EmbeddedPlatform(path) as platform:
        run = await platform.get_execution(run_id)
        assert run.status is ExecutionStatus.FAILED
        assert run.error is not None
        assert run.error.code == "PROCESS_DIED"
        assert "died 3 times" in run.error.message
        assert run.finished_at is not None
        assert {job.status for job in (await platform.get_jobs([run_id]))[run_id]} <= {JobStatus.FAILED}
        await platform.resume(run_id)
        assert [await start_process(when, run_id) for _ in range(2)] == [-signal.SIGKILL] * 2
        assert (await platform.get_execution(run_id)).status is not ExecutionStatus.FAILED
        assert await start_process("none", run_id) == -signal.SIGKILL
        assert await start_process("none", run_id) == 0
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.FAILED
        assert await start_process("heal", run_id) == 0
        assert await output_of(platform, run_id) == "healed"


async def test_a_run_beside_one_that_kills_the_process_is_not_given_up(tmp_path: Path) -> None:
    """The last try of each is made alone, so that only the run at fault is FAILED."""
    path = tmp_path / "journal.sqlite"
    script = KILLER.replace("asyncio.run(main())", BESIDE)
    for code in (-signal.SIGKILL, -signal.SIGKILL, 0):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path), "at once", cwd=ROOT)
        assert await asyncio.wait_for(process.wait(), 60) == code
    assert query(path, "SELECT workflow_name, status FROM run ORDER BY seq") == [
        ("quiet", "SUCCESS"),
        ("killer", "FAILED"),
        ("quiet", "SUCCESS"),
    ]


def die(path: Path) -> None:
    """Leave a file as a process does that dies while it executes it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO executing (since) VALUES (0)")
        connection.execute("UPDATE run SET due_at = NULL WHERE status = 'RUNNING'")


@pytest.mark.parametrize(("how", "status"), [("dies", "FAILED"), ("ends", "SUCCESS"), ("gets on", "SUCCESS")])
async def test_only_deaths_in_which_a_run_gets_no_further_count(tmp_path: Path, how: str, status: str) -> None:
    """A shutdown in good order does not count, nor does a death after another job has ended."""
    path = tmp_path / "journal.sqlite"
    reached = asyncio.Event()
    lives = 0

    @create_workflow_job(name="step-job")
    async def step(input: int) -> int:
        return input

    @create_workflow_job(name="main-job")
    async def main() -> str:
        for number in range(lives if how == "gets on" else 1):
            await step.trigger(number)
        reached.set()
        await asyncio.Event().wait() if lives < 5 else None
        return "done"

    workflow = workflow_of(main)
    run_id = ""
    for lives in range(1, 5):
        reached.clear()
        platform = EmbeddedPlatform(path, shutdown_grace=timedelta(0), max_recoveries=2)
        async with executing(platform, workflow):
            run_id = run_id or await workflow.trigger()
            run = await platform.get_execution(run_id)
            if how == "dies" and lives == 4:
                run = await ended(platform, run_id)
                assert run.error is not None
                assert run.error.code == "PROCESS_DIED"
                break
            await reached.wait()
            await in_status(platform, run_id, ExecutionStatus.RUNNING)
        if how != "ends":
            die(path)
    else:
        lives = 5
        async with executing(platform := EmbeddedPlatform(path, max_recoveries=2), workflow):
            run = await ended(platform, run_id)
    assert run.status == status


async def test_a_run_that_was_not_begun_is_not_counted(tmp_path: Path) -> None:
    """What waits for its turn while processes die is not given up with what they died of."""
    path = tmp_path / "journal.sqlite"
    began = asyncio.Event()
    healthy = False

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        began.set()
        await asyncio.Event().wait() if not healthy else None
        return input

    narrow = create_workflow(name="narrow", main_job=main, concurrency_policy=ConcurrencyPolicy(1))
    run_ids: list[str] = []
    for deaths in range(5):
        began.clear()
        async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(0)), narrow):
            if not run_ids:
                run_ids = await narrow.trigger_many([0, 1, 2, 3, 4, 5])
            await began.wait()
        assert query(path, "SELECT coalesce(sum(count), 0) FROM recovery") == [(deaths,)]
        die(path)
    healthy = True
    async with executing(platform := EmbeddedPlatform(path), narrow):
        assert [await output_of(platform, run_id) for run_id in run_ids] == [0, 1, 2, 3, 4, 5]
    async with executing(EmbeddedPlatform(path), narrow):
        assert query(path, "SELECT * FROM recovery") == []


def test_the_number_of_recoveries_is_checked() -> None:
    """A run may be recovered at least once."""
    with pytest.raises(ValueError, match="max_recoveries must be at least 1, not 0"):
        EmbeddedPlatform(":memory:", max_recoveries=0)
