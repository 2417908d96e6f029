"""What type checkers accept of executors, and the types they see."""

import json
from typing import Any, assert_type

from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gqlplugin import (
    App,
    Executor,
    IncomingWebhookArgs,
    JobContext,
    RecordCreatedArgs,
    RecordUpdatedArgs,
    ResolverContext,
    ResolverExecutedArgs,
    ScheduleArgs,
    create_executor,
    create_resolver,
    create_workflow,
    create_workflow_job,
    define_app,
    function_operation,
    graphql_operation,
    incoming_webhook_trigger,
    record_created_trigger,
    record_updated_trigger,
    resolver_executed_trigger,
    schedule_trigger,
    secret,
    webhook_operation,
    workflow_operation,
)


class Base(DeclarativeBase):
    """The base of the tables."""


class Order(Base):
    """A table."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]


class Processing(BaseModel):
    """The input of a workflow."""

    order_id: int


class Payment(BaseModel):
    """The body of a webhook."""

    reference: int


@create_workflow_job(name="process")
async def process(input: Processing) -> int:
    """Takes a model."""
    return input.order_id


@create_workflow_job(name="sweep")
async def sweep() -> None:
    """Takes nothing."""


processing = create_workflow(name="processing", main_job=process)
sweeping = create_workflow(name="sweeping", main_job=sweep)


@create_resolver(name="total", operation="query")
async def total(ctx: ResolverContext[Processing]) -> int:
    """Returns a number."""
    return ctx.input.order_id


created = create_executor(
    "created",
    trigger=record_created_trigger(Order),
    condition=lambda args: args.new_record.total > 0,
    operation=workflow_operation(processing, args=lambda args: Processing(order_id=args.new_record.id)),
)
assert_type(created, Executor[RecordCreatedArgs[Order]])


async def has_grown(args: RecordUpdatedArgs[Order]) -> bool:
    """A condition may be async."""
    return args.new_record.total > args.old_record.total


async def processing_of(args: RecordUpdatedArgs[Order]) -> Processing:
    """So may the function for arguments."""
    return Processing(order_id=args.new_record.id)


updated = create_executor(
    "updated",
    trigger=record_updated_trigger(Order),
    condition=has_grown,
    operation=workflow_operation(processing, args=processing_of, auth_invoker="manager"),
)
assert_type(updated, Executor[RecordUpdatedArgs[Order]])

nightly = create_executor("nightly", trigger=schedule_trigger("@daily"), operation=workflow_operation(sweeping))
assert_type(nightly, Executor[ScheduleArgs])
static = create_executor(
    "static", trigger=schedule_trigger("@daily"), operation=workflow_operation(processing, args=Processing(order_id=1))
)

by_name = create_executor(
    "by-name",
    trigger=record_created_trigger(Order),
    operation=workflow_operation(
        "processing",
        args=lambda args: json.dumps({"order_id": args.new_record.id}),
        auth_invoker={"namespace": "main", "machineUserName": "manager"},
    ),
)
assert_type(by_name, Executor[RecordCreatedArgs[Order]])

paid = create_executor(
    "paid",
    trigger=incoming_webhook_trigger(body=Payment, signing_secrets=[secret("PAYMENTS")]),
    operation=function_operation(lambda args: args.body.reference + 1),
)
assert_type(paid, Executor[IncomingWebhookArgs[Payment]])
anything = create_executor(
    "anything",
    trigger=incoming_webhook_trigger(path_secrets=[secret("PATH_SECRET")]),
    operation=function_operation(lambda args: args.body["whatever"]),
)
assert_type(anything, Executor[IncomingWebhookArgs[Any]])


def report(args: ResolverExecutedArgs[int], ctx: JobContext) -> None:
    """A function may take the context of a job."""
    ctx.log.info("%s", 1 + (args.result or 0))


told = create_executor("told", trigger=resolver_executed_trigger(total), operation=function_operation(report))
assert_type(told, Executor[ResolverExecutedArgs[int]])

asked = create_executor(
    "asked",
    trigger=record_created_trigger(Order),
    operation=graphql_operation("query ($n: Int!) { total(orderId: $n) }", variables=lambda a: {"n": a.new_record.id}),
)
sent = create_executor(
    "sent",
    trigger=record_created_trigger(Order),
    operation=webhook_operation(
        lambda args: f"https://example.com/{args.new_record.id}",
        headers={"authorization": secret("TOKEN"), "x-shop": "1"},
        request_body=lambda args: {"total": args.new_record.total},
    ),
)
assert_type(
    define_app("shop", executors=[created, updated, nightly, static, by_name, paid, anything, told, asked, sent]), App
)
