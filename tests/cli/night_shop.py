"""An application with executors, for the tests of the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, SecretStr

from gqlplugin.app import define_app
from gqlplugin.errors import JobFailedError
from gqlplugin.executor import (
    Executor,
    ScheduleArgs,
    create_executor,
    function_operation,
    incoming_webhook_trigger,
    resolver_executed_trigger,
    schedule_trigger,
    workflow_operation,
)
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import RetryPolicy
from gqlplugin.workflow import create_workflow

SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - what must not be shown
NASTY = "\x1b[31mred\x1b]0;owned\x07 [bold]not markup[/bold]"


class Report(BaseModel):
    day: str


class Item(BaseModel):
    item: str


@create_workflow_job(name="write-report")
async def write_report(report: Report) -> str:
    return f"report of {report.day}"


reporting = create_workflow(name="reporting", main_job=write_report)


@create_resolver(name="placeOrder", operation="mutation")
async def place(ctx: ResolverContext[Item]) -> str:
    return ctx.input.item


async def echo(args: object) -> str:
    return type(args).__name__


async def print_label(args: ScheduleArgs) -> None:
    raise JobFailedError(f"The printer is off. {NASTY}", code="PRINTER_OFF")


def broken(args: ScheduleArgs) -> bool:
    raise ValueError(SECRET)


executors: list[Executor[Any]] = [
    create_executor(
        "nightly-report",
        description=f"Reports the day. {NASTY}",
        trigger=schedule_trigger("0 2 * * *", timezone="Europe/Berlin"),
        operation=workflow_operation(reporting, args=lambda args: Report(day=args.scheduled_time.date().isoformat())),
    ),
    create_executor(
        "order-hook",
        trigger=incoming_webhook_trigger(path_secrets=[SecretStr(SECRET)]),
        condition=lambda args: args.headers.get("x-test") != "yes",
        operation=workflow_operation(reporting, args=Report(day="today")),
    ),
    create_executor("order-placed", trigger=resolver_executed_trigger(place), operation=function_operation(echo)),
    create_executor(
        "label-printing",
        trigger=schedule_trigger("@yearly"),
        operation=function_operation(
            print_label, retry_policy=RetryPolicy(max_retries=2, initial_backoff=timedelta(milliseconds=10))
        ),
    ),
    create_executor(
        "broken-condition",
        trigger=schedule_trigger("@yearly"),
        condition=broken,
        operation=function_operation(echo),
    ),
    create_executor(
        "switched-off", trigger=schedule_trigger("@yearly"), operation=function_operation(echo), disabled=True
    ),
]
app = define_app("night-shop", workflows=[reporting], resolvers=[place], executors=executors)
smaller = define_app("night-shop", workflows=[reporting])
