"""SIGKILL while runs are canceled from another process: a cancel that was accepted holds."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.identity import User
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, WorkflowExecution
from tests.crash.records import executed_in
from tests.crash.server import JOURNAL, KILLED, Server
from tests.crash.shop import STEPS_OF_LASTING
from tests.rounds import rounds

pytestmark = [pytest.mark.anyio, pytest.mark.rounds]

KILLS = rounds(8, few=4)
RUNS = rounds(80, few=40)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[EmbeddedPlatform]:
    """A journal that another process executes."""
    async with EmbeddedPlatform(tmp_path / JOURNAL) as opened:
        yield opened


async def test_a_cancel_holds_whenever_the_executing_process_dies(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """Each canceled run ends as CANCELED, or had all its steps done; every other run ends well; none goes on."""
    dice = random.Random()  # noqa: S311 - moments, not secrets
    canceled: set[str] = set()
    run_ids = [await _start(platform, number) for number in range(RUNS)]
    for _ in range(KILLS):
        server = Server(tmp_path)
        try:
            server.wait_until_open()
            for run_id in dice.sample(run_ids, RUNS // 10):
                if await _cancel(platform, run_id):
                    canceled.add(run_id)
                await asyncio.sleep(dice.uniform(0, 0.02))
            assert server.kill() == KILLED
        finally:
            server.close()
    server = Server(tmp_path)
    try:
        server.wait_until_open()
        runs = await _all_ended(platform)
        assert server.stop() == 0
    finally:
        server.close()
    assert len(canceled) > RUNS * KILLS // 32
    assert {run.status for run in runs.values()} == {ExecutionStatus.CANCELED, ExecutionStatus.SUCCESS}
    for run_id, run in runs.items():
        steps = sum(one == run_id and job == "inner" for one, job, _ in executed_in(tmp_path))
        if run.status is ExecutionStatus.CANCELED:
            assert run_id in canceled
            assert run.output is None
        else:
            assert json.loads(run.output or "null") == STEPS_OF_LASTING
            assert steps >= STEPS_OF_LASTING
    stopped = [run_id for run_id in canceled if runs[run_id].status is ExecutionStatus.CANCELED]
    assert len(stopped) > len(canceled) // 2
    jobs = await platform.get_jobs(stopped)
    assert {job.status for found in jobs.values() for job in found} <= {"SUCCESS", "CANCELED"}


async def test_a_cancel_outlives_the_process_that_was_about_to_heed_it(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Killed while a job cleans up, the run is CANCELED by the next process, which does not begin it again."""
    run_id = await _start(platform, 1, "tidy")
    server = Server(tmp_path)
    try:
        await _witnessed(tmp_path, "begun")
        await _in_status(platform, run_id, ExecutionStatus.RUNNING)
        await platform.cancel(run_id)
        await _witnessed(tmp_path, "cleaning")
        assert server.kill() == KILLED
    finally:
        server.close()
    assert (await platform.get_execution(run_id)).status is ExecutionStatus.RUNNING
    server = Server(tmp_path)
    try:
        await _in_status(platform, run_id, ExecutionStatus.CANCELED)
        assert server.stop() == 0
    finally:
        server.close()
    assert [job for _, job, _ in executed_in(tmp_path)] == ["begun", "cleaning"]


async def _witnessed(directory: Path, word: str) -> None:
    async with asyncio.timeout(60):
        while word not in {job for _, job, _ in executed_in(directory)}:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)


async def _in_status(platform: EmbeddedPlatform, run_id: str, status: ExecutionStatus) -> None:
    async with asyncio.timeout(60):
        while (await platform.get_execution(run_id)).status is not status:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)


async def _start(platform: EmbeddedPlatform, number: int, workflow: str = "lasting") -> str:
    return await platform.start_workflow(
        workflow, json.dumps({"n": number, "step": "main"}), caller=User("alice", "user")
    )


async def _cancel(platform: EmbeddedPlatform, run_id: str) -> bool:
    try:
        await platform.cancel(run_id)
    except FailedPreconditionError:
        return False
    return True


async def _all_ended(platform: EmbeddedPlatform) -> dict[str, WorkflowExecution]:
    deadline = time.monotonic() + 120
    while True:
        page = await platform.list_executions(ExecutionFilter(), first=1000)
        if all(run.status.is_final for run in page.executions):
            return {run.id: run for run in page.executions}
        assert time.monotonic() < deadline, "runs go on"
        await asyncio.sleep(0.05)
