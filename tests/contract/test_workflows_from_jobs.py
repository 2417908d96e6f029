"""Workflows that jobs start: durable, and once."""

import json
from typing import Literal

import pytest

from gqlplugin.auth import define_auth
from gqlplugin.errors import FailedPreconditionError, InvalidInputError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus
from gqlplugin.workflow import create_workflow, trigger_workflow
from tests.contract.support import (
    ALICE,
    all_runs,
    app_of,
    echo_workflow,
    ended,
    executing,
    failed,
    jobs_of,
    output_of,
    until,
    workflow_of,
)

pytestmark = pytest.mark.anyio


@pytest.mark.needs("callers")
async def test_a_job_starts_a_workflow_by_name_in_the_form_of_the_platforms_own_function(platform: Platform) -> None:
    """`trigger_workflow` takes a name, JSON text, and the invoker as namespace and name."""
    child = echo_workflow()
    auth = define_auth("my-auth-namespace", Literal["notification-bot"])

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return await trigger_workflow(
            "echo-it",
            json.dumps({"orderId": "1"}),
            auth_invoker={"namespace": "my-auth-namespace", "machineUserName": "notification-bot"},
        )

    parent = workflow_of(main)
    async with platform, platform.execute(app_of(parent, child, auth=auth)):
        run = await ended(platform, await output_of(platform, await parent.trigger()))
        assert (run.invoker, json.loads(run.output or "")) == (auth.invoker("notification-bot"), {"orderId": "1"})


async def test_a_resumed_run_has_started_its_child_once(platform: Platform) -> None:
    """A child started before its parent failed is started by the first try only; a resume gets the same ID."""
    child = echo_workflow()
    seen: list[str] = []

    @create_workflow_job(name="main-job")
    async def main() -> str:
        seen.append(await child.trigger("from a job"))
        if len(seen) < 3:
            raise RuntimeError
        return seen[-1]

    parent = workflow_of(main)
    async with executing(platform, parent, child):
        run_id = await parent.trigger()
        for _ in range(2):
            await failed(platform, run_id)
            await platform.resume(run_id)
        child_id = await output_of(platform, run_id)
        assert await output_of(platform, child_id) == "from a job"
        runs = await all_runs(platform)
        assert list(await jobs_of(platform, run_id)) == ["main-job"]
    assert seen == [child_id] * 3
    assert {run.id for run in runs} == {run_id, child_id}


@pytest.mark.needs("callers")
async def test_a_child_inherits_the_caller_not_the_invoker(platform: Platform) -> None:
    """A child run has its parent's caller, is one deeper, and is anonymous unless an invoker is given."""
    child = echo_workflow()

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> str:
        return await child.trigger(ctx.user.id)

    parent = workflow_of(main)
    async with executing(platform, parent, child):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        run = await ended(platform, await output_of(platform, run_id))
    assert run.caller == ALICE
    assert run.invoker is None
    assert run.depth == 1
    assert run.input == '"alice"'


async def test_a_child_goes_on_when_its_parent_fails(platform: Platform) -> None:
    """A run started by a job is a run of its own: it ends by itself whatever becomes of its parent."""
    child = echo_workflow()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await child.trigger("orphan")
        raise RuntimeError

    parent = workflow_of(main)
    async with executing(platform, parent, child):
        await failed(platform, await parent.trigger())
        run = next(run for run in await all_runs(platform) if run.workflow_name == "echo-it")
        assert await output_of(platform, run.id) == "orphan"


@pytest.mark.needs("depth")
async def test_workflows_nest_ten_deep_and_no_deeper(platform: Platform) -> None:
    """A chain of workflows that start each other ends at depth 10 with a clear error (TAILOR.md section 5)."""

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return await trigger_workflow("the-workflow")

    endless = workflow_of(main)
    async with executing(platform, endless):
        await endless.trigger()

        async def all_have_ended() -> bool:  # the last one may fail before those above it are known to have ended
            statuses = [run.status for run in await all_runs(platform)]
            return ExecutionStatus.FAILED in statuses and all(status.is_final for status in statuses)

        await until(all_have_ended)
        runs = await all_runs(platform)
    assert [run.depth for run in runs] == list(range(10, -1, -1))
    assert [run.status.value for run in runs] == ["FAILED"] + ["SUCCESS"] * 10
    assert runs[0].error is not None
    assert runs[0].error.code == "FAILED_PRECONDITION"
    assert "10" in runs[0].error.message


async def test_a_refused_start_can_be_caught_in_a_job(platform: Platform) -> None:
    """A start that is refused raises in the job; one that catches it goes on, and nothing was started."""
    child = echo_workflow()
    elsewhere = create_workflow(name="elsewhere", input=int)

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        problems = []
        for name, args in (("no-such", "1"), ("elsewhere", "1"), ("echo-it", "{")):
            try:
                await trigger_workflow(name, args)
            except Exception as error:
                problems.append(type(error).__name__)
        return problems

    parent = workflow_of(main)
    async with executing(platform, parent, child, elsewhere):
        problems = await output_of(platform, await parent.trigger())
        assert len(await all_runs(platform)) == 1
    assert problems == ["NotFoundError", "UnsupportedError", "InvalidInputError"]


async def test_starts_and_jobs_share_one_order(platform: Platform) -> None:
    """Starts of workflows and triggers of jobs in one body replay in the order they were made."""
    child = echo_workflow()
    ran: list[int] = []
    seen: list[list[object]] = []

    @create_workflow_job(name="step-job")
    async def step(input: int) -> int:
        ran.append(input)
        return input

    @create_workflow_job(name="main-job")
    async def main() -> int:
        seen.append([await step.trigger(1), await child.trigger("a"), await step.trigger(2), await child.trigger("b")])
        if len(seen) == 1:
            raise RuntimeError
        return len(seen)

    parent = workflow_of(main)
    async with executing(platform, parent, child):
        run_id = await parent.trigger()
        await failed(platform, run_id)
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == 2
        assert len(await all_runs(platform)) == 3
    assert ran == [1, 2]
    assert seen[0] == seen[1]


@pytest.mark.needs("idempotency")
async def test_an_idempotency_key_works_in_jobs(platform: Platform) -> None:
    """Two parents of one caller that start a child with the same key share that child."""
    child = echo_workflow()

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return await child.trigger("once", idempotency_key="the-child")

    parent = workflow_of(main)
    async with executing(platform, parent, child):
        parents = [await platform.start_workflow("the-workflow", "null", caller=ALICE) for _ in range(2)]
        children = {await output_of(platform, run_id) for run_id in parents}
        assert len(await all_runs(platform)) == 3
    assert len(children) == 1


async def test_a_job_can_not_be_triggered_outside_a_job(platform: Platform) -> None:
    """`job.trigger` is for jobs; elsewhere the error says to start a workflow."""

    @create_workflow_job(name="main-job")
    async def main(input: int) -> int:
        return input

    async with executing(platform, workflow_of(main)):
        with pytest.raises(FailedPreconditionError, match="start a workflow"):
            await main.trigger(1)
        with pytest.raises(InvalidInputError):
            await trigger_workflow("the-workflow", {"not": "an int"})
        assert await all_runs(platform) == []
