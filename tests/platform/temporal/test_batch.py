"""Batches: all their runs are started, each once, however often what starts them dies."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, get_type_hints
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from gqlplugin.identity import User
from gqlplugin.platform.temporal.batch import MAX_BATCH_BYTES, Batch, batch_bytes, start_child
from gqlplugin.platform.temporal.messages import (
    BATCH,
    CALLER,
    CREATED_AT,
    FACTS,
    STATUS,
    Facts,
    NewRun,
    Start,
    caller_mark,
)
from gqlplugin.platform.temporal.starts import new_run
from tests.platform.temporal.waiting import until

pytestmark = pytest.mark.anyio

ALICE = User("alice", "user")
NAME = "counting"


@workflow.defn(dynamic=True)
class Counting:
    """A run: its result says what it was started with."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        read = workflow.payload_converter().from_payload
        start, record = read(args[0].payload, Start), read(args[1].payload, bytes)
        if start.input == '"slow"':
            await workflow.wait_condition(lambda: False)
        return json.dumps([workflow.info().workflow_type, start.input, record.decode(), start.limit])


@workflow.defn(name="starts-one")
class StartsOne:
    """A workflow that starts a run with a record."""

    @workflow.run
    async def run(self, new: NewRun) -> None:
        await start_child(new, b"the record")


@asynccontextmanager
async def worker(client: Client, task_queue: str) -> AsyncIterator[None]:
    """A process that runs workflows."""
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[Batch, Counting, StartsOne],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=50,
    ):
        yield


def runs_of(count: int, arg: str = "{0}") -> list[NewRun]:
    """Runs to start."""
    return [
        new_run(NAME, arg.format(number), caller=ALICE, invoker=None, heartbeat_seconds=5, limit=7)
        for number in range(count)
    ]


async def start(client: Client, task_queue: str, runs: list[NewRun]) -> WorkflowHandle[Any, Any]:
    """Start a batch."""
    return await client.start_workflow(BATCH, runs, id=f"batch-{uuid4()}", task_queue=task_queue)


async def replay(client: Client, handle: WorkflowHandle[Any, Any]) -> int:
    """Replay every history of a batch; how many there are."""
    listed = [one async for one in client.list_workflows(f"WorkflowId = '{handle.id}'")]
    for one in listed:
        history = await client.get_workflow_handle(one.id, run_id=one.run_id).fetch_history()
        await Replayer(workflows=[Batch], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(history)
    return len(listed)


async def test_all_runs_are_started(temporal_client: Client, task_queue: str) -> None:
    """Each run is a workflow of its own with its ID, its argument, its memo and its search attributes."""
    runs = runs_of(45)
    async with worker(temporal_client, task_queue):
        batch = await start(temporal_client, task_queue, runs)
        await batch.result()
        handles = [temporal_client.get_workflow_handle(run.run_id) for run in runs]
        results = await asyncio.gather(*(handle.result() for handle in handles))
        described = await handles[-1].describe()
        assert await replay(temporal_client, batch) == 1
    assert results == [json.dumps([NAME, str(number), "", 7]) for number in range(45)]
    assert described.task_queue == task_queue
    assert await described.memo_value(FACTS, type_hint=Facts) == runs[-1].facts
    attributes = described.typed_search_attributes
    assert attributes[STATUS] == "PENDING"
    assert attributes[CALLER] == caller_mark("alice")
    created_at = datetime.fromisoformat(runs[-1].facts.created_at)
    assert abs(attributes[CREATED_AT] - created_at) < timedelta(milliseconds=1)


async def test_a_run_may_begin_with_a_record(temporal_client: Client, task_queue: str) -> None:
    """What a run has recorded before is its second argument."""
    [new] = runs_of(1)
    async with worker(temporal_client, task_queue):
        await temporal_client.execute_workflow(StartsOne.run, new, id=f"{uuid4()}", task_queue=task_queue)
        result = await temporal_client.get_workflow_handle(new.run_id).result()
    assert result == json.dumps([NAME, "0", "the record", 7])


async def test_runs_that_are_there_are_not_started_again(temporal_client: Client, task_queue: str) -> None:
    """A batch that is asked for again starts what is missing, and nothing twice."""
    runs = runs_of(6)
    async with worker(temporal_client, task_queue):
        await (await start(temporal_client, task_queue, runs[:4])).result()
        first = [await temporal_client.get_workflow_handle(run.run_id).describe() for run in runs[:4]]
        await asyncio.gather(*(temporal_client.get_workflow_handle(run.run_id).result() for run in runs[:2]))
        await (await start(temporal_client, task_queue, runs)).result()
        again = [await temporal_client.get_workflow_handle(run.run_id).describe() for run in runs]
    assert [one.run_id for one in again[:4]] == [one.run_id for one in first]


async def test_runs_outlive_their_batch(temporal_client: Client, task_queue: str) -> None:
    """The runs go on when their batch has ended, also when it was terminated."""
    runs = runs_of(3, '"slow"')
    async with worker(temporal_client, task_queue):
        batch = await start(temporal_client, task_queue, runs)
        await batch.result()
        handles = [temporal_client.get_workflow_handle(run.run_id) for run in runs]
        for handle in handles:
            status = (await handle.describe()).status
            assert status is not None
            assert status.name == "RUNNING"
            await handle.terminate()


async def test_a_worker_that_dies_in_the_middle(temporal_client: Client, task_queue: str) -> None:
    """What one process has begun to start, the next one starts to the end, and nothing twice."""
    runs = runs_of(120)
    async with worker(temporal_client, task_queue):
        batch = await start(temporal_client, task_queue, runs)

        async def has_begun() -> bool:
            history = await batch.fetch_history()
            return any(event.HasField("child_workflow_execution_started_event_attributes") for event in history.events)

        await until(has_begun)
    async with worker(temporal_client, task_queue):
        await batch.result()
        handles = [temporal_client.get_workflow_handle(run.run_id) for run in runs]
        results = await asyncio.gather(*(handle.result() for handle in handles))
        assert await replay(temporal_client, batch) == 2
    assert results == [json.dumps([NAME, str(number), "", 7]) for number in range(120)]


async def test_the_longest_batch_is_accepted(temporal_client: Client, task_queue: str) -> None:
    """A batch whose message has just the allowed length is started."""
    runs = runs_of(40, '"' + "x" * 30_000 + '"')
    room = MAX_BATCH_BYTES - batch_bytes(runs)
    runs[0].start.input = '"' + "x" * (30_000 + room) + '"'
    assert batch_bytes(runs) == MAX_BATCH_BYTES
    async with worker(temporal_client, task_queue):
        await (await start(temporal_client, task_queue, runs)).result()
        results = [await temporal_client.get_workflow_handle(run.run_id).result() for run in (runs[0], runs[-1])]
    assert [len(result) > 30_000 for result in results] == [True, True]


def test_a_thousand_runs_are_read_quickly() -> None:
    """To read the runs of a batch takes a small part of what it takes to convert them all, which would be too long."""
    converter = DataConverter.default.payload_converter
    payloads = converter.to_payloads([runs_of(300)])

    def seconds(hint: Any) -> float:
        began = time.process_time()
        [runs] = converter.from_payloads(payloads, [hint])
        assert len(runs) == 300
        return time.process_time() - began

    assert seconds(get_type_hints(Batch.run)["runs"]) < seconds(list[NewRun]) / 5


async def test_what_a_later_version_adds_is_left_out(temporal_client: Client, task_queue: str) -> None:
    """A batch of a process with a later version is started too."""
    [new] = runs_of(1)
    values = asdict(new)
    for part in (values, values["start"], values["facts"]):
        part["news"] = True
    async with worker(temporal_client, task_queue):
        await temporal_client.execute_workflow(BATCH, [values], id=f"{uuid4()}", task_queue=task_queue)
        assert await temporal_client.get_workflow_handle(new.run_id).result()
