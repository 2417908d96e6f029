"""Deploys: runs that are under way when the processes that run jobs come back with other definitions."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from gqlplugin.app import App, define_app
from gqlplugin.executor import create_executor, function_operation, schedule_trigger
from gqlplugin.identity import User
from gqlplugin.job import WorkflowJob, create_workflow_job
from gqlplugin.platform.base import Binding, Platform, bind
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.temporal import TemporalPlatform
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, RetryPolicy, WorkflowExecution
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 60

Deploy = Callable[[], Platform]
"""Makes the platform of a process that is started anew."""


@pytest.fixture
def temporal(temporal_address: str, task_queue: str) -> Callable[[], TemporalPlatform]:
    def deploy() -> TemporalPlatform:
        return TemporalPlatform(
            temporal_address,
            task_queue=task_queue,
            heartbeat_timeout=timedelta(seconds=10),
            shutdown_grace=timedelta(0),
        )

    return deploy


@pytest.fixture(params=[pytest.param("temporal", marks=pytest.mark.temporal), "embedded"])
def deploy(request: pytest.FixtureRequest, tmp_path: Path) -> Deploy:
    """Of either platform: a deploy does the same to both."""
    if request.param == "embedded":
        return lambda: EmbeddedPlatform(tmp_path / "runs.sqlite", shutdown_grace=timedelta(0))
    temporal: Deploy = request.getfixturevalue("temporal")
    return temporal


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - a platform has no event for these
            await asyncio.sleep(0.05)


async def reached(platform: Platform, run_id: str, *statuses: ExecutionStatus) -> WorkflowExecution:
    """The run, once it has one of these statuses."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for run in platform.watch(run_id):
            if run.status in statuses:
                return run
    raise AssertionError(f"It ended as {run}.")


async def ended(platform: Platform, run_id: str) -> WorkflowExecution:
    return await reached(platform, run_id, ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.CANCELED)


class Version:
    """A version of an app whose workflow prices an order, waits for an answer, and tells of both.

    Args:
        name: What its results begin with.
        first: Which job the main job triggers first.
        ran: Counts what jobs ran, over all versions.
    """

    def __init__(self, name: str, first: Literal["price", "stock"], ran: Counter[str]) -> None:
        @create_workflow_job(name="price")
        async def price(order: str) -> int:
            ran["price"] += 1
            return 5

        @create_workflow_job(name="stock")
        async def stock(order: str) -> int:
            ran["stock"] += 1
            return 7

        answer = define_wait_point("answer", payload=str, result=str)
        job: WorkflowJob[str, int] = {"price": price, "stock": stock}[first]

        @create_workflow_job(name="sell")
        async def sell(order: str) -> str:
            number = await job.trigger(order)
            return f"{name} {number} {await answer.wait(order)}"

        self.app = define_app("shop", workflows=[create_workflow(name="selling", main_job=sell)], jobs=[price, stock])


async def waiting_run(platform: Platform, app: App) -> str:
    """A run that waits for its answer, with no process left that runs jobs."""
    async with platform, platform.execute(app):
        run_id = await platform.start_workflow("selling", '"tea"', caller=User())
        await reached(platform, run_id, ExecutionStatus.WAITING)
    return run_id


async def test_a_run_goes_on_with_new_code_that_leads_to_the_same_triggers(deploy: Deploy) -> None:
    """Code around triggers may change: what is recorded is not run again, and the rest is the new code's."""
    ran: Counter[str] = Counter()
    run_id = await waiting_run(deploy(), Version("old", "price", ran).app)
    platform = deploy()
    async with platform, platform.execute(Version("new", "price", ran).app):
        await platform.resolve(run_id, "answer", '"yes"')
        assert (await ended(platform, run_id)).output == '"new 5 yes"'
    assert ran == {"price": 1}


async def test_a_run_whose_triggers_changed_fails_and_goes_on_after_a_rollback(deploy: Deploy) -> None:
    """Other triggers than recorded are REPLAY_MISMATCH, nothing runs by them, and old code can resume the run."""
    ran: Counter[str] = Counter()
    old, new = Version("old", "price", ran).app, Version("new", "stock", ran).app
    run_id = await waiting_run(deploy(), old)
    platform = deploy()
    async with platform, platform.execute(new):
        await platform.resolve(run_id, "answer", '"yes"')
        failed = await ended(platform, run_id)
        assert failed.status is ExecutionStatus.FAILED
        assert failed.error is not None
        assert failed.error.code == "REPLAY_MISMATCH"
        assert "price" in failed.error.message
        assert "stock" in failed.error.message
        await platform.resume(run_id)
        assert (await ended(platform, run_id)).status is ExecutionStatus.FAILED
    platform = deploy()
    async with platform, platform.execute(old):
        await platform.resume(run_id)
        assert (await ended(platform, run_id)).output == '"old 5 yes"'
    assert ran == {"price": 1}


async def test_a_run_between_its_jobs_goes_on_with_new_code(deploy: Deploy) -> None:
    """A run that backs off after a failure when its process ends is tried again by the new one."""
    ran: Counter[str] = Counter()

    def version(name: str) -> App:
        @create_workflow_job(name="price")
        async def price(order: str) -> int:
            ran["price"] += 1
            return 5

        @create_workflow_job(name="sell")
        async def sell(order: str) -> str:
            number = await price.trigger(order)
            if name == "old":
                raise ValueError("a fault that the new version mends")
            return f"{name} {number}"

        policy = RetryPolicy(max_retries=5, initial_backoff=timedelta(seconds=2))
        return define_app("shop", workflows=[create_workflow(name="selling", main_job=sell, retry_policy=policy)])

    platform = deploy()
    async with platform, platform.execute(version("old")):
        run_id = await platform.start_workflow("selling", '"tea"', caller=User())
        await reached(platform, run_id, ExecutionStatus.PENDING_RETRY)
    platform = deploy()
    async with platform, platform.execute(version("new")):
        assert (await ended(platform, run_id)).output == '"new 5"'
    assert ran == {"price": 1}


def greeting(name: str) -> App:
    """An app with one workflow of this name, which says so."""

    @create_workflow_job(name=f"{name}-job")
    async def greet() -> str:
        return name

    return define_app("shop", workflows=[create_workflow(name=name, main_job=greet)])


async def test_a_process_that_lacks_the_workflow_leaves_the_run_alone(
    temporal: Callable[[], TemporalPlatform], caplog: pytest.LogCaptureFixture
) -> None:
    """The run is PENDING, a warning names its workflow, and a process that has it takes it."""
    api, lacking, having = temporal(), temporal(), temporal()
    async with api:
        with bind(Binding(api, greeting("new"))):
            run_id = await api.start_workflow("new", "null", caller=User())
        with caplog.at_level(logging.WARNING, "gqlplugin.temporal"):
            async with lacking, lacking.execute(greeting("old")):
                await until(lambda: seen("A run of workflow 'new' waits: this app does not have it", caplog))
                await reached(api, run_id, ExecutionStatus.PENDING)
        async with having, having.execute(greeting("new")):
            assert (await ended(api, run_id)).output == '"new"'


async def seen(line: str, caplog: pytest.LogCaptureFixture) -> bool:
    return any(line in record.getMessage() for record in caplog.records)


async def test_an_old_process_beside_a_new_one(temporal: Callable[[], TemporalPlatform]) -> None:
    """While a deploy is under way either version runs what both have, and what only the new one has gets done."""
    ran: Counter[str] = Counter()
    old, new = temporal(), temporal()

    def version(name: str) -> App:
        @create_workflow_job(name="say")
        async def say() -> str:
            ran[name] += 1
            return "said"

        @create_workflow_job(name="say-new")
        async def say_new() -> str:
            return "new"

        workflows = [create_workflow(name="saying", main_job=say)]
        if name == "new":
            workflows.append(create_workflow(name="saying-new", main_job=say_new))
        return define_app("shop", workflows=workflows)

    async with new, new.execute(version("new")):
        async with old, old.execute(version("old")):
            both = [await new.start_workflow("saying", "null", caller=User()) for _ in range(20)]
            outputs = [(await ended(new, run_id)).output for run_id in both]
            run_id = await new.start_workflow("saying-new", "null", caller=User())
        assert (await ended(new, run_id)).output == '"new"'
    assert outputs == ['"said"'] * 20
    assert sum(ran.values()) == 20


async def test_schedules_follow_the_definitions(
    temporal: Callable[[], TemporalPlatform], temporal_client: Client, task_queue: str
) -> None:
    """A new process changes the times of executors, adds and removes them; after a rollback they are as before."""

    def version(**hours: int) -> App:
        def executor(name: str, hour: int) -> object:
            return create_executor(
                name, trigger=schedule_trigger(f"0 {hour} * * *"), operation=function_operation(lambda args: None)
            )

        return define_app("shop", executors=[executor(name, hour) for name, hour in hours.items()])  # type: ignore[misc] # either kind of executor

    async def hours() -> dict[str, int]:
        found = {}
        async for one in await temporal_client.list_schedules(page_size=1000):
            if one.id.startswith(f"{task_queue}/"):
                with suppress(RPCError):  # one that has gone is listed for a moment
                    description = await temporal_client.get_schedule_handle(one.id).describe()
                    found[one.id.rpartition("/")[2]] = description.info.next_action_times[0].hour
        return found

    for wanted in ({"report": 2, "check": 4}, {"report": 3, "sweep": 5}, {"report": 2, "check": 4}):
        platform = temporal()

        async def are_followed(wanted: dict[str, int] = wanted) -> bool:
            return await hours() == wanted

        async with platform, platform.execute(version(**wanted)):
            await until(are_followed)


@pytest.mark.parametrize("before", [1, None])
async def test_a_changed_concurrency_policy(temporal: Callable[[], TemporalPlatform], before: int | None) -> None:
    """A limit that is new holds for runs from before the deploy too; one that has changed is never exceeded."""
    running: set[int] = set()
    most = 0
    done = 0
    turns = asyncio.Semaphore(0)

    def version(limit: int | None) -> App:
        @create_workflow_job(name="hold")
        async def hold(number: int) -> int:
            nonlocal most, done
            running.add(number)
            most = max(most, len(running))
            try:
                await turns.acquire()
            finally:
                running.discard(number)
            done += 1
            return number

        policy = None if limit is None else ConcurrencyPolicy(max_concurrent_executions=limit)
        return define_app("shop", workflows=[create_workflow(name="holding", main_job=hold, concurrency_policy=policy)])

    async def are_running(count: int) -> bool:
        return len(running) == count

    async def have_ended(count: int, *, running_now: int) -> bool:
        return done == count and len(running) == running_now

    platform = temporal()
    async with platform, platform.execute(version(before)):
        runs = [await platform.start_workflow("holding", str(number), caller=User()) for number in range(4)]
        await until(lambda: are_running(before or 4))
    await until(lambda: are_running(0))
    most = 0
    platform = temporal()
    async with platform, platform.execute(version(2)):
        runs.append(await platform.start_workflow("holding", "4", caller=User()))
        for number in range(3):
            await until(lambda number=number: have_ended(number, running_now=2))  # type: ignore[misc]  # a bound value
            turns.release()
        for _ in range(len(runs)):
            turns.release()
        assert [(await ended(platform, run_id)).output for run_id in runs] == [str(number) for number in range(5)]
    assert most == 2
