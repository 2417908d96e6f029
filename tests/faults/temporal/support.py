"""What the tests of faults on Temporal share: worker processes, and orders that are seen to their end."""

import asyncio
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress

from gqlplugin.errors import FailedPreconditionError, OutcomeUnknownError, PlatformUnavailableError
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, JobStatus, PendingWait, WaitFilter, WorkflowExecution
from tests.faults.temporal.app import STEPS, Order, approval
from tests.faults.temporal.ledger import HELD, Ledger, Word

ROUND_SECONDS = 1.0


def dice() -> random.Random:
    """What decides when something goes wrong; its seed is shown when the test fails."""
    seed = int(os.environ.get("FAULT_SEED", secrets.randbelow(10**6)))
    print(f"FAULT_SEED={seed}")  # noqa: T201 - shown when the test fails
    return random.Random(seed)  # noqa: S311


@asynccontextmanager
async def worker(
    address: str, task_queue: str, ledger: Ledger, *, held: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process that runs jobs, killed at the end; it may be held at a step."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.temporal.worker",
        address,
        task_queue,
        env={**os.environ, **ledger.environment, HELD: held},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def approve_all(platform: Platform) -> None:
    """Approve whatever waits, for ever."""

    async def approve(wait: PendingWait) -> None:
        with suppress(FailedPreconditionError, OutcomeUnknownError, PlatformUnavailableError):  # it is asked again
            await platform.resolve(wait.execution.id, approval.name, "true", job_id=wait.job_id)

    while True:
        with suppress(PlatformUnavailableError):
            page = await platform.list_waits(WaitFilter(name=approval.name), first=1000)
            await asyncio.gather(*map(approve, page.waits))
        await asyncio.sleep(ROUND_SECONDS)


async def tell_what_is_known(
    platform: Platform, ledger: Ledger, run_ids: Collection[str], chance: random.Random
) -> None:
    """Write down what the platform shows as recorded, for ever."""
    while True:
        if run_ids:
            run_id = chance.choice(list(run_ids))
            with suppress(PlatformUnavailableError):
                for job in (await platform.get_jobs([run_id]))[run_id]:
                    if job.status is JobStatus.SUCCESS and job.result is not None and job.result.strip('"') in STEPS:
                        ledger.note(run_id, job.result.strip('"'), Word.KNOWN)
        await asyncio.sleep(ROUND_SECONDS)


@asynccontextmanager
async def meanwhile(*calls: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """What goes on meanwhile; the test fails at once when one of it does."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
        yield
        for task in tasks:
            task.cancel()


async def all_ended(platform: Platform, run_ids: Iterable[str]) -> dict[str, WorkflowExecution]:
    """Runs, once all of them have ended."""
    runs: dict[str, WorkflowExecution] = {}
    left = list(run_ids)
    while left:
        with suppress(PlatformUnavailableError):
            for run_id in list(left):
                run = await platform.get_execution(run_id)
                if run.status.is_final:
                    runs[run_id] = run
                    left.remove(run_id)
        await asyncio.sleep(ROUND_SECONDS)
    return runs


async def numbers_of_all(platform: Platform, known: Collection[str]) -> Counter[int]:
    """How many orders there are of each number, once those that are known are listed, which lags behind."""
    while True:
        page = await platform.list_executions(ExecutionFilter(workflow_name="order"), first=1000)
        if set(known) <= {run.id for run in page.executions}:
            return Counter(Order.model_validate_json(run.input).number for run in page.executions)
        await asyncio.sleep(0.1)


def check_all_done(runs: dict[str, WorkflowExecution], orders: dict[str, Order], ledger: Ledger) -> None:
    """Every order has succeeded with its own output, each of its steps was done, and none again once it was known."""
    for run_id, order in orders.items():
        assert runs[run_id].status is ExecutionStatus.SUCCESS, runs[run_id]
        assert runs[run_id].output == str(order.number)
    assert ledger.begun_again() == []
    begins = ledger.begins()
    for run_id in orders:
        assert all(begins[run_id, step] for step in STEPS)
