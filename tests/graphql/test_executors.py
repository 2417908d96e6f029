"""Executors as GraphQL: what there is, and what a firing shows."""

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
import strawberry
from pydantic import BaseModel
from strawberry.types import get_object_definition

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.checks import firing_name
from gqlplugin.errors import DefinitionError
from gqlplugin.executor import create_executor, function_operation, resolver_executed_trigger, schedule_trigger
from gqlplugin.executor.operation import OperationKind
from gqlplugin.executor.trigger import TriggerKind
from gqlplugin.graphql.executors import ExecutorJob, ExecutorOperationKind, ExecutorTriggerKind
from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import executor_user
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import RetryPolicy
from gqlplugin.testing import MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.graphql.executor_shop import (
    DUE,
    JOBS,
    SECRET,
    CountingPlatform,
    Order,
    Shop,
    broken,
    count,
    define_shop,
    executors,
    place_order,
    print_label,
    printer,
    reporting,
    served,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with served() as made:
        yield made


async def test_an_operator_sees_what_happens_by_itself(shop: Shop) -> None:
    """Each executor is listed, in the order of the definitions, with what it waits for and does, and no secret."""
    query = """{ executors {
      name description disabled triggerKind triggerDetail operationKind operationDetail nextTime
    } }"""
    result = await shop.client.execute(query)
    shown = {one["name"]: one for one in result.data["executors"]}
    assert list(shown) == [one.name for one in executors]
    next_time = shown["nightly-report"].pop("nextTime")
    assert shown["nightly-report"] == {
        "name": "nightly-report",
        "description": "Reports the orders of a day.",
        "disabled": False,
        "triggerKind": "SCHEDULE",
        "triggerDetail": "0 2 * * * (Europe/Berlin)",
        "operationKind": "WORKFLOW",
        "operationDetail": "reporting",
    }
    assert timedelta(0) < datetime.fromisoformat(next_time) - datetime.now(UTC) <= timedelta(hours=26)
    assert (shown["order-hook"]["triggerKind"], shown["order-hook"]["nextTime"]) == ("INCOMING_WEBHOOK", None)
    assert (shown["label-printing"]["triggerDetail"], shown["label-printing"]["operationKind"]) == (
        "placeOrder",
        "FUNCTION",
    )
    assert (shown["switched-off"]["disabled"], shown["switched-off"]["nextTime"]) == (True, None)
    assert SECRET not in json.dumps(result.data)


def test_every_kind_has_a_name() -> None:
    """The enums have exactly the kinds that triggers and operations can be of."""
    assert {kind.value for kind in ExecutorTriggerKind} == set(get_args(TriggerKind))
    assert {kind.value for kind in ExecutorOperationKind} == set(get_args(OperationKind))


async def test_a_job_tells_what_it_started(shop: Shop) -> None:
    """The run that a workflow operation started is found by its ID, and the arguments by their hash alone."""
    job = await shop.job("nightly-report", ' {"scheduled_time" : "2026-11-22T02:00:00Z"}')
    assert (job["__typename"], job["executor"], job["workflowName"], job["status"], job["error"]) == (
        "ExecutorJob",
        "nightly-report",
        "executor/nightly-report",
        "SUCCESS",
        None,
    )
    assert (job["attempts"], job["skipped"]) == (1, False)
    assert job["createdAt"] <= job["startedAt"] <= job["finishedAt"]
    canonical = b'{"scheduled_time":"2026-11-22T02:00:00Z"}'
    assert job["argumentsHash"] == hashlib.sha256(canonical).hexdigest()
    run_id = job["workflowRunId"]
    await shop.finished(run_id)
    query = "query ($id: ID!) { workflowRun(id: $id) { ... on ReportingRun { input { day } output } } }"
    assert (await shop.client.run(query, {"id": run_id}))["workflowRun"] == {
        "input": {"day": "2026-11-22"},
        "output": "report of 2026-11-22",
    }


async def test_equal_arguments_have_equal_hashes(shop: Shop) -> None:
    """The order of keys and white space don't matter, values do."""
    first = '{"body": {"a": 1, "b": "ü"}, "headers": {}, "method": "POST", "raw_body": ""}'
    same = '{"method":"POST","raw_body":"","headers":{},"body":{"b":"\\u00fc","a":1}}'
    other = first.replace('"a": 1', '"a": true')
    hashes = [(await shop.job("order-hook", arg))["argumentsHash"] for arg in (first, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


async def test_a_skipped_job_did_nothing(shop: Shop) -> None:
    """A condition that is not met is a success that says so."""
    met = await shop.job("even-hours")
    unmet = await shop.job("even-hours", DUE.replace("02:00", "03:00"))
    assert (met["status"], met["skipped"], met["workflowRunId"]) == ("SUCCESS", False, None)
    assert (unmet["status"], unmet["skipped"], unmet["workflowRunId"]) == ("SUCCESS", True, None)


async def test_a_failing_condition_is_recorded_and_keeps_its_secrets(shop: Shop) -> None:
    """It fails at once, without the text of the exception."""
    job = await shop.job("broken-condition")
    assert (job["status"], job["attempts"], job["skipped"]) == ("FAILED", 1, False)
    assert job["error"] == "The condition of executor 'broken-condition' failed."
    assert SECRET not in json.dumps(job)


async def test_a_resolver_fires_and_the_tries_are_counted(shop: Shop) -> None:
    """Each try of a failing function counts; the arguments are nowhere in what is shown."""
    arg = f'{{"resolver_name": "placeOrder", "success": true, "result": "{SECRET}"}}'
    job = await shop.job("label-printing", arg)
    assert (job["status"], job["error"], job["attempts"]) == ("FAILED", "The printer is off.", 3)
    query = """{ executorJobs(executor: "label-printing") { edges { node {
      argumentsHash jobs { name logs result error } } } } }"""
    assert SECRET not in json.dumps([job, await shop.client.run(query)])


async def test_tries_are_counted_once_they_begin() -> None:
    """None has begun while nobody runs the jobs, nor when a failed one was resumed; a retry counts when it begins."""
    platform = CountingPlatform()
    slow = function_operation(
        print_label, retry_policy=RetryPolicy(max_retries=2, initial_backoff=timedelta(minutes=5))
    )
    app = define_app(
        "shop",
        resolvers=[place_order],
        executors=[
            create_executor("slow-labels", trigger=resolver_executed_trigger(place_order), operation=slow),
            create_executor(
                "broken-condition",
                trigger=schedule_trigger("@daily"),
                condition=broken,
                operation=function_operation(count),
            ),
        ],
    )
    asgi = create_asgi(app, platform, policy=CallerPolicy(operators=lambda _: True), execute=False)
    printer["is_on"] = False
    async with serve(asgi) as client:
        shop = Shop(platform, client)
        await shop.fire("slow-labels", '{"resolver_name": "placeOrder", "success": true, "result": "1"}')
        failing = await shop.fire("broken-condition")
        assert [job["attempts"] for job in await shop.jobs("slow-labels")] == [0]
        async with platform.execute(app):
            seen = [run.status async for run in platform.watch(failing)]
            assert seen[-1] == "FAILED"
            [job] = await shop.jobs("slow-labels")
            assert (job["status"], job["attempts"]) == ("PENDING_RETRY", 1)
        await platform.resume(failing)
        assert [job["attempts"] for job in await shop.jobs("broken-condition")] == [0]


async def test_pages_of_jobs_are_newest_first_and_of_one_executor(shop: Shop) -> None:
    """Going from cursor to cursor shows every job of the executor once, and no other."""
    fired = [await shop.fire("even-hours") for _ in range(5)]
    await shop.fire("nightly-report")
    seen: list[str] = []
    after, more = None, True
    while more:
        page = (await shop.client.run(JOBS, {"name": "even-hours", "first": 2, "after": after}))["executorJobs"]
        info = page["pageInfo"]
        assert info["hasPreviousPage"] is (after is not None)
        assert (info["startCursor"], info["endCursor"]) == (page["edges"][0]["cursor"], page["edges"][-1]["cursor"])
        seen += [edge["node"]["id"] for edge in page["edges"]]
        after, more = info["endCursor"], info["hasNextPage"]
    assert seen == fired[::-1]


async def test_a_page_costs_one_listing(shop: Shop) -> None:
    """However many jobs a page has, runs are read once, and their jobs at most once."""
    for _ in range(4):
        await shop.finished(await shop.fire("nightly-report"))
    shop.platform.listings = shop.platform.reads_of_jobs = shop.platform.reads_of_runs = 0
    assert len(await shop.jobs("nightly-report")) == 4
    assert (shop.platform.listings, shop.platform.reads_of_jobs, shop.platform.reads_of_runs) == (1, 0, 0)
    await shop.client.run('{ executorJobs(executor: "nightly-report") { edges { node { jobs { name } } } } }')
    assert (shop.platform.listings, shop.platform.reads_of_jobs, shop.platform.reads_of_runs) == (2, 1, 0)


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"name": "nobody"}, "NOT_FOUND"),
        ({"name": ""}, "NOT_FOUND"),
        ({"name": "executor/nightly-report"}, "NOT_FOUND"),
        ({"name": "nightly-report", "first": 0}, "BAD_USER_INPUT"),
        ({"name": "nightly-report", "first": 101}, "BAD_USER_INPUT"),
        ({"name": "nightly-report", "after": "nonsense"}, "BAD_USER_INPUT"),
    ],
)
async def test_what_can_not_be_listed(shop: Shop, variables: dict[str, object], code: str) -> None:
    """An unknown executor, a page out of its range and a cursor that isn't one are the client's errors."""
    assert (await shop.client.execute(JOBS, variables)).codes == [code]


async def test_a_failed_job_is_resumed(shop: Shop) -> None:
    """After the cause is mended, an operator has it done under the same ID."""
    job = await shop.job("label-printing", '{"resolver_name": "placeOrder", "success": true, "result": "1"}')
    resume = "mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id __typename ... on ExecutorJob { executor } } }"
    shop.act_as("ann")
    assert (await shop.client.execute(resume, {"id": job["id"]})).codes == ["NOT_FOUND"]
    shop.act_as("olga")
    printer["is_on"] = True
    assert (await shop.client.run(resume, {"id": job["id"]}))["resumeWorkflowRun"] == {
        "id": job["id"],
        "__typename": "ExecutorJob",
        "executor": "label-printing",
    }
    assert (await shop.finished(job["id"])).status == "SUCCESS"
    [resumed] = await shop.jobs("label-printing")
    assert (resumed["status"], resumed["attempts"], resumed["error"]) == ("SUCCESS", 1, None)


async def test_a_job_of_an_executor_that_is_gone_is_still_one() -> None:
    """An app without the executor, or without any, shows what it did as an ExecutorJob."""
    platform = MemoryPlatform()
    async with platform:
        async with platform.execute(define_shop()):
            fired = await platform.start_workflow(firing_name("even-hours"), DUE, caller=executor_user("even-hours"))
            assert [run.status async for run in platform.watch(fired)][-1] == "SUCCESS"
        other = create_workflow(name="other", input=Order)
        asgi = create_asgi(
            define_app("shop", workflows=[other]), platform, policy=CallerPolicy(operators=lambda _: True)
        )
        async with serve(asgi) as client:
            query = "query ($id: ID!) { workflowRun(id: $id) { __typename ... on ExecutorJob { executor } } }"
            shown = (await client.run(query, {"id": fired}))["workflowRun"]
            assert shown == {"__typename": "ExecutorJob", "executor": "even-hours"}


async def test_an_app_with_executors_alone() -> None:
    """It needs neither workflows nor resolvers."""
    app = define_app("shop", executors=[executors[2]])
    platform = CountingPlatform()
    async with serve(create_asgi(app, platform, policy=CallerPolicy(operators=lambda _: True))) as client:
        shop = Shop(platform, client)
        job = await shop.job("even-hours")
        assert job["status"] == "SUCCESS"
        query = "query ($id: ID!) { workflowRun(id: $id) { __typename } }"
        assert (await client.run(query, {"id": job["id"]}))["workflowRun"] == {"__typename": "ExecutorJob"}
        assert (await client.run("{ executors { name } }"))["executors"] == [{"name": "even-hours"}]


def test_names_that_are_taken_are_refused() -> None:
    """A model or a resolver with a name of ours is an error that names both, where Strawberry would take one."""

    class ExecutorJobEdge(BaseModel):
        other: int

    @create_resolver(name="one", operation="query")
    async def one(ctx: ResolverContext[None]) -> ExecutorJobEdge: ...  # type: ignore[empty-body] # never runs

    @create_resolver(name="executorJobs", operation="query")
    async def taken(ctx: ResolverContext[None]) -> str: ...  # type: ignore[empty-body] # never runs

    @strawberry.type
    class Query:
        @strawberry.field
        def executors(self) -> str: ...  # type: ignore[empty-body] # never runs

    with pytest.raises(DefinitionError, match="'ExecutorJobEdge'"):
        create_schema(define_app("shop", resolvers=[one], executors=executors[2:3]))
    with pytest.raises(DefinitionError, match=r"'executorJobs': resolver 'executorJobs' \(.*gqlplugin's own"):
        create_schema(define_app("shop", resolvers=[taken], executors=executors[2:3]))
    with pytest.raises(DefinitionError, match=r"'executors': that of .*Query, and gqlplugin's own"):
        create_schema(define_app("shop", executors=executors[2:3]), query=Query)


def test_every_type_of_ours_is_reserved() -> None:
    """No name of an executor's type can be taken by a model unnoticed."""
    sdl = str(create_schema(define_shop()))
    ours = [line.split()[1] for line in sdl.splitlines() if line.startswith(("type Executor", "enum Executor"))]
    assert len(ours) == 6
    for name in ours:
        model = type(name, (BaseModel,), {"__annotations__": {"other": int}, "__module__": __name__})

        async def body(ctx: ResolverContext[None]) -> Any: ...

        one: Any = create_resolver(name="one", operation="query", output=model, body=body)
        with pytest.raises(DefinitionError, match=name):
            create_schema(define_app("shop", resolvers=[one], executors=executors[2:3]))


def test_an_app_without_executors_has_none_of_the_fields() -> None:
    """What nobody needs is not in the schema; the type of jobs is, as old runs may be of that type."""
    sdl = str(create_schema(define_app("shop", workflows=[reporting])))
    assert "executors" not in sdl
    assert "executorJobs" not in sdl
    assert "type ExecutorJob implements WorkflowRun" in sdl
    definition = get_object_definition(ExecutorJob, strict=True)
    assert {"input", "output"}.isdisjoint(field.name for field in definition.fields)
