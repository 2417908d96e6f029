"""What the suite does with a platform again and again. Nothing here knows which platform it is."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gqlplugin.app import define_app
from gqlplugin.auth import Auth
from gqlplugin.identity import User
from gqlplugin.job import WorkflowJob, create_workflow_job
from gqlplugin.platform.base import Definitions, EnvValue, Platform
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, JobExecution, WorkflowExecution
from gqlplugin.workflow import Workflow, create_workflow

T = TypeVar("T")

PATIENCE_SECONDS = 60.0

ALICE = User("alice", "user", "workspace-1", {"role": "BUYER", "age": 7}, ("a", "b"))
BOB = User("bob", "user")

EVERYTHING = ExecutionFilter()


def app_of(
    *workflows: Workflow[Any, Any],
    jobs: Iterable[WorkflowJob[Any, Any]] = (),
    auth: Auth[Any] | None = None,
    env: Mapping[str, EnvValue] | None = None,
    capture_print: bool = False,
) -> Definitions:
    """An app of these workflows."""
    return define_app("contract", workflows=workflows, jobs=jobs, auth=auth, env=env, capture_print=capture_print)


@asynccontextmanager
async def executing(platform: Platform, *workflows: Workflow[Any, Any]) -> AsyncIterator[None]:
    """The platform entered, and executing an app of these workflows."""
    async with platform, platform.execute(app_of(*workflows)):
        yield


async def until(condition: Callable[[], Awaitable[T]]) -> T:
    """Wait for a condition to hold, and return what it said."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (result := await condition()):  # noqa: ASYNC110 - a platform has no event for most conditions
            await asyncio.sleep(0.005)
    return result


async def ended(platform: Platform, run_id: str) -> WorkflowExecution:
    """The run once it has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        seen = [run async for run in platform.watch(run_id)]
    return seen[-1]


async def failed(platform: Platform, run_id: str) -> WorkflowExecution:
    """The run once it has failed."""
    run = await ended(platform, run_id)
    assert run.status is ExecutionStatus.FAILED
    return run


async def output_of(platform: Platform, run_id: str) -> Any:
    """The output of a run that must succeed."""
    run = await ended(platform, run_id)
    assert run.status is ExecutionStatus.SUCCESS, run.error
    assert run.output is not None
    return json.loads(run.output)


async def in_status(platform: Platform, run_id: str, status: ExecutionStatus) -> WorkflowExecution:
    """The run once it is in a status."""

    async def reached() -> WorkflowExecution | None:
        run = await platform.get_execution(run_id)
        return run if run.status is status else None

    found = await until(reached)
    assert found is not None
    return found


async def jobs_of(platform: Platform, run_id: str) -> dict[str, JobExecution]:
    """The jobs of a run by stacked name, in the order they were triggered."""
    jobs = (await platform.get_jobs([run_id]))[run_id]
    return {job.stacked_name: job for job in jobs}


async def all_runs(platform: Platform, where: ExecutionFilter = EVERYTHING) -> list[WorkflowExecution]:
    """Every run, newest first."""
    page = await platform.list_executions(where, first=1000)
    assert not page.has_next
    return list(page.executions)


def workflow_of(main_job: WorkflowJob[Any, Any], name: str = "the-workflow") -> Workflow[Any, Any]:
    """A workflow of a job."""
    return create_workflow(name=name, main_job=main_job)


def echo_workflow(name: str = "echo-it") -> Workflow[Any, Any]:
    """A workflow whose output is its input."""

    @create_workflow_job(name=f"{name}-job")
    async def echo(input: Any) -> Any:
        return input

    return create_workflow(name=name, main_job=echo)
