"""A served shop with executors, for the tests of the GraphQL layer."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, SecretStr

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.auth import User
from gqlplugin.checks import firing_name
from gqlplugin.errors import JobFailedError
from gqlplugin.executor import (
    Executor,
    ResolverExecutedArgs,
    ScheduleArgs,
    create_executor,
    function_operation,
    incoming_webhook_trigger,
    resolver_executed_trigger,
    schedule_trigger,
    workflow_operation,
)
from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.identity import executor_user
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionFilter, ExecutionPage, JobExecution, RetryPolicy, Values, WorkflowExecution
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.graphql.conftest import authenticate

SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - what must not be shown
DUE = '{"scheduled_time": "2026-11-22T02:00:00Z"}'
JOBS = """query ($name: String!, $first: Int = 20, $after: String) {
  executorJobs(executor: $name, first: $first, after: $after) {
    edges { cursor node {
      __typename id workflowName status error executor argumentsHash attempts skipped workflowRunId
      createdAt startedAt finishedAt
    } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  } }"""


class Order(BaseModel):
    order_id: str


class Report(BaseModel):
    day: str


@create_workflow_job(name="write-report")
async def write_report(report: Report) -> str:
    return f"report of {report.day}"


reporting = create_workflow(name="reporting", main_job=write_report)
printer = {"is_on": False}


@create_resolver(name="placeOrder", operation="mutation")
async def place_order(ctx: ResolverContext[Order]) -> str:
    return ctx.input.order_id


async def print_label(args: ResolverExecutedArgs[str]) -> str:
    if not printer["is_on"]:
        raise JobFailedError("The printer is off.", code="PRINTER_OFF")
    return f"label of {args.result}"


async def count(args: ScheduleArgs) -> dict[str, int]:
    return {"hour": args.scheduled_time.hour}


def broken(args: ScheduleArgs) -> bool:
    raise ValueError(SECRET)


nightly = create_executor(
    "nightly-report",
    description="Reports the orders of a day.",
    trigger=schedule_trigger("0 2 * * *", timezone="Europe/Berlin"),
    operation=workflow_operation(reporting, args=lambda args: Report(day=args.scheduled_time.date().isoformat())),
)
labels = create_executor(
    "label-printing",
    trigger=resolver_executed_trigger(place_order),
    operation=function_operation(
        print_label, retry_policy=RetryPolicy(max_retries=2, initial_backoff=timedelta(milliseconds=10))
    ),
)
executors: list[Executor[Any]] = [
    nightly,
    labels,
    create_executor(
        "even-hours",
        trigger=schedule_trigger("@hourly"),
        condition=lambda args: args.scheduled_time.hour % 2 == 0,
        operation=function_operation(count),
    ),
    create_executor(
        "broken-condition", trigger=schedule_trigger("@daily"), condition=broken, operation=function_operation(count)
    ),
    create_executor(
        "order-hook",
        trigger=incoming_webhook_trigger(path_secrets=[SecretStr(SECRET)]),
        operation=workflow_operation(reporting, args=Report(day="today")),
    ),
    create_executor(
        "switched-off", trigger=schedule_trigger("@hourly"), operation=function_operation(count), disabled=True
    ),
]


def define_shop() -> App:
    return define_app("shop", workflows=[reporting], resolvers=[place_order], executors=executors)


def is_operator(user: User) -> bool:
    return user.id == "olga"


class CountingPlatform(MemoryPlatform):
    """Counts the reads."""

    listings = 0
    reads_of_jobs = 0
    reads_of_runs = 0

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        self.listings += 1
        return await super().list_executions(where, first=first, after=after)

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        self.reads_of_jobs += 1
        return await super().get_jobs(run_ids, values=values)

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        self.reads_of_runs += 1
        return await super().get_execution(run_id)


@dataclass(frozen=True)
class Shop:
    platform: CountingPlatform
    client: GraphQLClient

    def act_as(self, user: str | None) -> None:
        """Send the next requests as a caller, or as nobody."""
        self.client.http.headers.pop("x-user", None)
        if user:
            self.client.http.headers["x-user"] = user

    async def fire(self, executor: str, arg: str = DUE) -> str:
        """Fire an executor as a platform does, and return its run's ID."""
        return await self.platform.start_workflow(firing_name(executor), arg, caller=executor_user(executor))

    async def finished(self, run_id: str) -> WorkflowExecution:
        """The run once it has ended."""
        return [run async for run in self.platform.watch(run_id)][-1]

    async def job(self, executor: str, arg: str = DUE) -> dict[str, Any]:
        """What GraphQL shows of a firing that has ended."""
        await self.finished(await self.fire(executor, arg))
        return (await self.jobs(executor))[0]

    async def jobs(self, executor: str) -> list[dict[str, Any]]:
        """What GraphQL lists."""
        page = (await self.client.run(JOBS, {"name": executor}))["executorJobs"]
        return [edge["node"] for edge in page["edges"]]


@asynccontextmanager
async def served() -> AsyncIterator[Shop]:
    """The shop, where olga is an operator and calls."""
    printer["is_on"] = False
    platform, policy = CountingPlatform(), CallerPolicy(operators=is_operator)
    async with serve(create_asgi(define_shop(), platform, authenticate=authenticate, policy=policy)) as client:
        shop = Shop(platform, client)
        shop.act_as("olga")
        yield shop
