"""Firings of executors: runs like any other, on every platform that runs jobs."""

import json
from datetime import timedelta
from functools import wraps
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from gqlplugin.app import define_app
from gqlplugin.auth import define_auth
from gqlplugin.checks import firing_name
from gqlplugin.errors import JobFailedError, NotFoundError
from gqlplugin.executor import (
    Executor,
    Operation,
    ScheduleArgs,
    create_executor,
    function_operation,
    schedule_trigger,
    workflow_operation,
)
from gqlplugin.identity import executor_user
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Definitions, Platform
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, RetryPolicy
from gqlplugin.workflow import Workflow, create_workflow
from tests.contract.support import ALICE, all_runs, echo_workflow, ended, failed, jobs_of, output_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("executors")]

NOON = '{"scheduled_time":"2026-03-01T12:00:00Z"}'
auth = define_auth("my-auth", Literal["manager"])


def app_with(executor: Executor[Any], *workflows: Workflow[Any, Any]) -> Definitions:
    return define_app("contract", auth=auth, workflows=workflows, executors=[executor])


async def fire(platform: Platform, executor: Executor[Any], **options: Any) -> str:
    return await platform.start_workflow(
        firing_name(executor.name), NOON, caller=executor_user(executor.name), **options
    )


async def test_a_firing_starts_its_workflow(platform: Platform) -> None:
    """The run that a firing starts has the arguments made of the trigger's, and the executor as its caller."""
    workflow = echo_workflow()
    executor = create_executor(
        "at-noon",
        trigger=schedule_trigger("0 12 * * *"),
        operation=workflow_operation(
            workflow, args=lambda args: {"hour": args.scheduled_time.hour}, auth_invoker="manager"
        ),
    )
    async with platform, platform.execute(app_with(executor, workflow)):
        firing = await output_of(platform, await fire(platform, executor))
        assert firing["skipped"] is False
        started = await ended(platform, firing["workflow_run_id"])
        assert started.workflow_name == "echo-it"
        assert json.loads(started.output or "") == {"hour": 12}
        assert started.caller == executor_user("at-noon")
        assert started.invoker == auth.invoker("manager")
        assert started.depth == 1


class Delivery(BaseModel):
    order_id: str


@create_workflow_job(name="take-model")
async def take_model(input: Delivery) -> str:
    return f"model {input.order_id}"


@create_workflow_job(name="take-text")
async def take_text(input: str) -> str:
    return f"text {input}"


@create_workflow_job(name="take-anything")
async def take_anything(input: Any) -> str:
    return f"{type(input).__name__} {input}"


MODEL, TEXT, ANYTHING = (
    create_workflow(name=f"{job.name}s", main_job=job) for job in (take_model, take_text, take_anything)
)


@pytest.mark.parametrize(
    ("workflow", "given", "output"),
    [
        (MODEL, '{"order_id": "1"}', "model 1"),
        (MODEL, Delivery(order_id="1"), "model 1"),
        ("take-models", '{"order_id": "1"}', "model 1"),
        ("take-models", {"order_id": "1"}, "model 1"),
        (TEXT, '"1"', 'text "1"'),
        (TEXT, "1", "text 1"),
        ("take-texts", '"1"', "text 1"),
        (ANYTHING, "[1]", "list [1]"),
        (ANYTHING, "not JSON", "str not JSON"),
        ("take-anythings", "[1]", "list [1]"),
    ],
    ids=str,
)
async def test_args_may_be_json_text(platform: Platform, workflow: Any, given: object, output: str) -> None:
    """A function for `args` may return JSON text, and the workflow may be named; text is never taken for other text."""
    operation: Operation[ScheduleArgs] = workflow_operation(
        workflow, args=lambda _: given, auth_invoker={"namespace": "my-auth", "machineUserName": "manager"}
    )
    executor = create_executor("at-noon", trigger=schedule_trigger("0 12 * * *"), operation=operation)
    async with platform, platform.execute(app_with(executor, MODEL, TEXT, ANYTHING)):
        firing = await output_of(platform, await fire(platform, executor))
        started = await ended(platform, firing["workflow_run_id"])
        assert started.output is not None
        assert json.loads(started.output) == output
        assert started.invoker == auth.invoker("manager")


async def test_json_args_that_do_not_fit_fail_the_firing(platform: Platform) -> None:
    """They are refused as arguments of a trigger are, and the firing is not tried again."""
    operation: Operation[ScheduleArgs] = workflow_operation("take-models", args=lambda _: '{"order": 1}')
    executor = create_executor("at-noon", trigger=schedule_trigger("0 12 * * *"), operation=operation)
    async with platform, platform.execute(app_with(executor, MODEL)):
        run = await failed(platform, await fire(platform, executor))
        assert run.error is not None
        assert (run.error.code, run.attempt) == ("BAD_USER_INPUT", 0)


async def test_firings_are_listed_under_the_name_of_their_executor(platform: Platform) -> None:
    """The runs of `executor/NAME` are the firings of an executor, and only those."""
    workflow = echo_workflow()
    executor = create_executor(
        "at-noon", trigger=schedule_trigger("0 12 * * *"), operation=workflow_operation(workflow, args="x")
    )
    async with platform, platform.execute(app_with(executor, workflow)):
        run_ids = [await fire(platform, executor) for _ in range(3)]
        for run_id in run_ids:
            await output_of(platform, run_id)
        listed = await all_runs(platform, ExecutionFilter(workflow_name="executor/at-noon"))
        assert [run.id for run in listed] == run_ids[::-1]
        everything = await all_runs(platform)
        assert len(everything) == 6
        started = [run.id for run in everything if run.workflow_name == "echo-it"]
        for where in (
            ExecutionFilter(firings=False),
            ExecutionFilter(firings=False, status=ExecutionStatus.SUCCESS),
            ExecutionFilter(firings=False, caller_id=executor_user("at-noon").id),
        ):
            assert [run.id for run in await all_runs(platform, where)] == started
        by_name = ExecutionFilter(firings=False, workflow_name="executor/at-noon")
        assert [run.id for run in await all_runs(platform, by_name)] == run_ids[::-1]


async def test_a_delivery_that_comes_again_starts_nothing(platform: Platform) -> None:
    """A firing with an idempotency key is one firing, which starts one run."""
    workflow = echo_workflow()
    executor = create_executor(
        "at-noon", trigger=schedule_trigger("0 12 * * *"), operation=workflow_operation(workflow, args="x")
    )
    async with platform, platform.execute(app_with(executor, workflow)):
        first = await fire(platform, executor, idempotency_key="delivery-1")
        await output_of(platform, first)
        assert await fire(platform, executor, idempotency_key="delivery-1") == first
        assert len(await all_runs(platform)) == 2


async def test_a_condition_that_is_not_met_skips_the_operation(platform: Platform) -> None:
    """The firing is kept as skipped, and nothing is started."""
    workflow = echo_workflow()
    executor = create_executor(
        "at-noon",
        trigger=schedule_trigger("0 12 * * *"),
        condition=lambda args: args.scheduled_time.hour != 12,
        operation=workflow_operation(workflow, args="x"),
    )
    async with platform, platform.execute(app_with(executor, workflow)):
        firing = await output_of(platform, await fire(platform, executor))
        assert firing == {"skipped": True, "workflow_run_id": None, "result": None}
        assert len(await all_runs(platform)) == 1


def raises(args: object) -> Any:
    raise RuntimeError("a detail for nobody")


@pytest.mark.parametrize("part", ["condition", "args"])
async def test_a_condition_or_args_that_raise_are_recorded_and_not_tried_again(platform: Platform, part: str) -> None:
    """The firing fails once, with a code that says which function it was, and the exception's text stays inside."""
    workflow = echo_workflow()
    executor: Executor[ScheduleArgs] = create_executor(
        "at-noon",
        trigger=schedule_trigger("0 12 * * *"),
        condition=raises if part == "condition" else None,
        operation=workflow_operation(workflow, args=raises if part == "args" else "x"),
    )
    async with platform, platform.execute(app_with(executor, workflow)):
        run = await failed(platform, await fire(platform, executor))
        assert run.error is not None
        assert run.error.code == f"EXECUTOR_{part.upper()}_FAILED"
        assert "nobody" not in run.error.message
        assert "nobody" in (run.error.detail or "")
        assert run.attempt == 0
        assert len(await all_runs(platform)) == 1


@create_workflow_job(name="doubles")
async def doubles(number: int) -> int:
    return number * 2


async def test_a_function_is_as_durable_as_a_job(platform: Platform) -> None:
    """A function can trigger jobs, has a log and a record, and its result is kept."""

    async def body(args: ScheduleArgs, ctx: JobContext) -> list[int]:
        ctx.log.info("due at %s", args.scheduled_time.hour)
        return [await doubles.trigger(args.scheduled_time.hour)]

    executor = create_executor("at-noon", trigger=schedule_trigger("0 12 * * *"), operation=function_operation(body))
    async with platform, platform.execute(app_with(executor)):
        run_id = await fire(platform, executor)
        assert (await output_of(platform, run_id))["result"] == [24]
        jobs = await jobs_of(platform, run_id)
        assert list(jobs) == ["at-noon", "at-noon/doubles"]
        assert jobs["at-noon"].logs[0].endswith("INFO due at 12")


async def test_an_async_function_behind_a_plain_decorator_is_awaited(platform: Platform) -> None:
    """The function of an executor may be wrapped, and its context may have a default."""

    async def body(args: ScheduleArgs, ctx: JobContext | None = None) -> list[int]:
        assert ctx is not None
        return [await doubles.trigger(args.scheduled_time.hour)]

    def call(*args: Any) -> Any:
        return body(*args)

    traced: Any = wraps(body)(call)
    executor = create_executor("at-noon", trigger=schedule_trigger("0 12 * * *"), operation=function_operation(traced))
    async with platform, platform.execute(app_with(executor)):
        assert (await output_of(platform, await fire(platform, executor)))["result"] == [24]


async def test_a_failed_function_is_tried_again_under_its_policy(platform: Platform) -> None:
    """`retry_after` is waited for instead of the policy's own wait, and the attempts are counted."""
    tries = []

    def body(_: ScheduleArgs) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise JobFailedError("not yet", retry_after=timedelta(milliseconds=1))
        return "done"

    policy = RetryPolicy(max_retries=5, initial_backoff=timedelta(hours=1), max_backoff=timedelta(hours=1))
    executor = create_executor(
        "at-noon", trigger=schedule_trigger("0 12 * * *"), operation=function_operation(body, retry_policy=policy)
    )
    async with platform, platform.execute(app_with(executor)):
        run_id = await fire(platform, executor)
        assert (await output_of(platform, run_id))["result"] == "done"
        assert (await platform.get_execution(run_id)).attempt == 2


async def test_what_must_not_be_tried_again_is_not(platform: Platform) -> None:
    """`may_retry=False` ends a run whatever its policy says, also when a job that it triggered raised it."""

    @create_workflow_job(name="refused")
    async def refused() -> None:
        raise JobFailedError("never", code="REFUSED", may_retry=False)

    async def body(_: ScheduleArgs) -> None:
        await refused.trigger()

    executor = create_executor(
        "at-noon",
        trigger=schedule_trigger("0 12 * * *"),
        operation=function_operation(body, retry_policy=RetryPolicy(max_retries=5)),
    )
    async with platform, platform.execute(app_with(executor)):
        run = await failed(platform, await fire(platform, executor))
        assert run.error is not None
        assert (run.error.code, run.attempt) == ("REFUSED", 0)


async def test_an_unknown_executor_can_not_be_fired(platform: Platform) -> None:
    """A firing of an executor that the app does not have is refused."""
    executor = create_executor(
        "at-noon", trigger=schedule_trigger("0 12 * * *"), operation=function_operation(lambda _: None)
    )
    async with platform, platform.execute(app_with(executor)):
        with pytest.raises(NotFoundError):
            await platform.start_workflow("executor/another", NOON, caller=ALICE)
        assert await all_runs(platform) == []


async def test_a_firing_that_failed_can_be_resumed(platform: Platform) -> None:
    """A failed firing runs again under its ID, as any run does."""
    outcomes = [RuntimeError("broken"), "mended"]

    def body(_: ScheduleArgs) -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    executor = create_executor("at-noon", trigger=schedule_trigger("0 12 * * *"), operation=function_operation(body))
    async with platform, platform.execute(app_with(executor)):
        run_id = await fire(platform, executor)
        await failed(platform, run_id)
        await platform.resume(run_id)
        assert (await output_of(platform, run_id))["result"] == "mended"
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.SUCCESS
