"""What is deleted when it is old enough, and what is not."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gqlplugin.job import create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.retention import delete_expired
from gqlplugin.runs import ExecutionStatus
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow
from tests.contract.support import all_runs, failed, in_status, output_of, until
from tests.platform.embedded.support import ALICE, executing, query

pytestmark = pytest.mark.anyio

MONTH = timedelta(days=30)


@create_workflow_job(name="step-job")
async def step(input: str) -> str:
    return input


@create_workflow_job(name="main-job")
async def main(input: str) -> str:
    await step.trigger(input)
    if input == "fails":
        raise RuntimeError
    if input == "waits":
        await asyncio.Event().wait()
    return input


workflow = create_workflow(name="the-workflow", main_job=main)


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


async def test_old_finished_runs_and_keys_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    """Runs that ended longer ago than the retention go with their jobs and keys; unfinished ones stay for ever."""
    path = tmp_path / "journal.sqlite"
    async with executing(platform := EmbeddedPlatform(path, shutdown_grace=timedelta(0)), workflow):
        done = await platform.start_workflow("the-workflow", '"done"', caller=ALICE, idempotency_key="k")
        await output_of(platform, done)
        await failed(platform, await workflow.trigger("fails"))
        waits = await workflow.trigger("waits")
        await in_status(platform, waits, ExecutionStatus.RUNNING)
    async with EmbeddedPlatform(path):
        pending = await workflow.trigger("pending")
    now = datetime.now(UTC)
    with writing(path) as connection:
        assert delete_expired(connection, retention=MONTH, now=now + MONTH - timedelta(minutes=5)) is False
    assert query(path, "SELECT count(*) FROM run") == [(4,)]
    assert query(path, "SELECT count(*) FROM idempotency_key") == [(0,)]
    with writing(path) as connection:
        assert delete_expired(connection, retention=MONTH, now=now + MONTH + timedelta(minutes=5)) is False
    assert {row[0] for row in query(path, "SELECT id FROM run")} == {waits, pending}
    assert {row[0] for row in query(path, "SELECT run_id FROM job")} == {waits}


async def test_much_is_deleted_a_little_at_a_time(tmp_path: Path) -> None:
    """One transaction deletes some, and says whether there may be more, until all is gone."""
    path = tmp_path / "journal.sqlite"
    async with executing(platform := EmbeddedPlatform(path), workflow):
        for run_id in await asyncio.gather(*(workflow.trigger("x") for _ in range(450))):
            await output_of(platform, run_id)
    later = datetime.now(UTC) + MONTH + timedelta(minutes=1)
    left = [450]
    more = True
    while more:
        with writing(path) as connection:
            more = delete_expired(connection, retention=MONTH, now=later)
        left.append(query(path, "SELECT count(*) FROM run")[0][0])
    assert left[-1] == 0
    assert len(left) > 2
    assert query(path, "SELECT count(*) FROM job") == [(0,)]


async def test_a_platform_deletes_when_it_begins_to_execute(tmp_path: Path) -> None:
    """With a short retention an old run is gone soon after the next start; a new one stays."""
    path = tmp_path / "journal.sqlite"
    async with executing(platform := EmbeddedPlatform(path), workflow):
        old = await workflow.trigger("old")
        await output_of(platform, old)
    async with executing(platform := EmbeddedPlatform(path, retention=timedelta(0)), workflow):

        async def gone() -> bool:
            return not await all_runs(platform)

        await until(gone)
        new = await workflow.trigger("new")
        assert await output_of(platform, new) == "new"


async def test_an_expired_key_may_be_used_again() -> None:
    """Once a key has expired the same request is a new run."""
    platform = MemoryPlatform(idempotency_key_ttl=timedelta(milliseconds=1))
    async with executing(platform, workflow):
        first = await workflow.trigger("x", idempotency_key="k")

        async def another() -> bool:
            return await workflow.trigger("x", idempotency_key="k") != first

        await until(another)
