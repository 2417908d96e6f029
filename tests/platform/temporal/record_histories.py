"""Records the histories that `test_histories` replays: `python -m tests.platform.temporal.record_histories`.

Record anew only what a new version adds: the histories of earlier versions are what tells that runs that began under
them go on.
"""

import asyncio
import json
import re
import socket
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client

from gqlplugin.errors import WaitTimedOutError
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.temporal import TemporalPlatform, messages
from gqlplugin.platform.temporal.messages import admission_id
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, RetryPolicy
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import Workflow, create_workflow
from tests.contract.support import ended, in_status
from tests.platform.temporal.support import executing, platform_at
from tests.temporal_server import TemporalServer

DIRECTORY = Path(__file__).parent / "histories"

QUEUE = "histories"
CALLER = User("alice", "user")

approval = define_wait_point("approval", payload=int, result=str)
tries: Counter[str] = Counter()


@create_workflow_job(name="count-job")
async def count(input: str) -> int:
    tries[input] += 1
    return tries[input]


@create_workflow_job(name="nested-job")
async def nested(input: str) -> list[int]:
    return [await count.trigger(input), await count.trigger(input)]


@create_workflow_job(name="many-jobs")
async def many() -> list[list[int]]:
    return [await nested.trigger("many") for _ in range(4)]


@create_workflow_job(name="fails-twice")
async def fails_twice() -> int:
    if (number := await count.trigger("twice")) and tries["main"] < 2:
        tries["main"] += 1
        raise RuntimeError
    return number


@create_workflow_job(name="asks")
async def asks() -> str:
    try:
        await approval.wait(1, timeout=timedelta(milliseconds=10))
    except WaitTimedOutError:
        return await approval.wait(2)
    return "in time"


@create_workflow_job(name="never-ends")
async def never_ends() -> None:
    await asyncio.Event().wait()


WORKFLOWS: dict[str, Workflow[Any, Any]] = {
    "nested-jobs": create_workflow(name="nested-jobs", main_job=many),
    "retried": create_workflow(
        name="retried", main_job=fails_twice, retry_policy=RetryPolicy(3, initial_backoff=timedelta(milliseconds=10))
    ),
    "waiting": create_workflow(name="waiting", main_job=asks),
    "canceled": create_workflow(name="canceled", main_job=never_ends),
    "limited": create_workflow(name="limited", main_job=nested, concurrency_policy=ConcurrencyPolicy(1)),
}


async def record(address: str) -> None:
    """Run every workflow once, and keep the histories."""
    platform = platform_at(address, QUEUE)
    async with executing(platform, *WORKFLOWS.values()):
        run_ids = {
            name: await platform.start_workflow(name, '"x"' if name == "limited" else "null", caller=CALLER)
            for name in WORKFLOWS
        }
        await _steer(platform, run_ids)
        for run_id in run_ids.values():
            await ended(platform, run_id)
        messages.MOST_RECORDED = 3
        long_id = await platform.start_workflow("nested-jobs", "null", caller=CALLER)
        first = (await (await Client.connect(address)).get_workflow_handle(long_id).describe()).run_id
        await ended(platform, long_id)
        await _keep(address, {name: (run_id, None) for name, run_id in run_ids.items()})
        await _keep(
            address,
            {
                "continued-first": (long_id, first),
                "continued-last": (long_id, None),
                "admission": (admission_id(QUEUE, "limited"), None),
            },
        )


async def _steer(platform: TemporalPlatform, run_ids: dict[str, str]) -> None:
    await in_status(platform, run_ids["canceled"], ExecutionStatus.RUNNING)
    await platform.cancel(run_ids["canceled"])
    while True:
        run = await in_status(platform, run_ids["waiting"], ExecutionStatus.WAITING)
        jobs = (await platform.get_jobs([run.id]))[run.id]
        if jobs[-1].place == "0.1":
            break
    await platform.resolve(run_ids["waiting"], "approval", '"yes"')


async def _keep(address: str, workflows: dict[str, tuple[str, str | None]]) -> None:
    client = await Client.connect(address)
    for name, (workflow_id, run_id) in workflows.items():
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        text = json.dumps({"workflow_id": workflow_id, **json.loads(history.to_json())}, indent=1, sort_keys=True)
        text = re.sub(rf"\d+@{re.escape(socket.gethostname())}", "worker", text)  # a machine is nobody's business
        (DIRECTORY / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    with TemporalServer() as server:
        asyncio.run(record(server.address))
    sys.stdout.write(f"{len(list(DIRECTORY.glob('*.json')))} histories\n")
