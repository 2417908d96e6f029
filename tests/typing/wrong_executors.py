"""What type checkers refuse of executors: each line marked `error` is an error, and no other line is."""

from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gqlplugin import (
    IncomingWebhookArgs,
    RecordCreatedArgs,
    RecordUpdatedArgs,
    ScheduleArgs,
    create_executor,
    create_workflow,
    create_workflow_job,
    function_operation,
    incoming_webhook_trigger,
    record_created_trigger,
    record_deleted_trigger,
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


processing = create_workflow(name="processing", main_job=process)


def of_schedule(args: ScheduleArgs) -> Processing:
    """For another trigger."""
    return Processing(order_id=args.scheduled_time.year)


def of_update(args: RecordUpdatedArgs[Order]) -> bool:
    """For another trigger."""
    return args.new_record.total > args.old_record.total


def of_payment(args: IncomingWebhookArgs[Payment]) -> int:
    """For a webhook with this body."""
    return args.body.reference


def of_order(args: RecordCreatedArgs[Order]) -> str:
    """Makes something else."""
    return str(args.new_record.id)


created = record_created_trigger(Order)
deleted = record_deleted_trigger(Order)
nightly = schedule_trigger("@daily")
schedule_trigger(5)  # error: not a text
schedule_trigger("@daily", missed="some")  # error: no such policy


create_executor(
    "field",
    trigger=created,
    operation=workflow_operation(processing, args=lambda a: Processing(order_id=a.new_record.no)),  # error: no field
)
create_executor(
    "returns",
    trigger=created,
    operation=workflow_operation(processing, args=lambda args: args.new_record.id),  # error: not the input
)
create_executor("a", trigger=created, operation=workflow_operation(processing, args=of_order))  # error: not the input
create_executor("b", trigger=created, operation=workflow_operation(processing, args=of_schedule))  # error: another's
create_executor("c", trigger=created, operation=function_operation(of_update))  # error: of an update
create_executor("d", trigger=created, operation=workflow_operation(processing, args="1"))  # error: not the input
create_executor("e", trigger=created, operation=function_operation(lambda args: args.old_record))  # error: not in there
create_executor("f", trigger=deleted, operation=function_operation(lambda args: args.new_record))  # error: not in there
create_executor("g", trigger=nightly, operation=function_operation(of_payment))  # error: of a webhook
create_executor(
    "condition",
    trigger=created,
    condition=lambda args: args.new_record.number > 1,  # error: no such field
    operation=function_operation(lambda args: args.new_record.id),
)
create_executor(
    "update-condition",
    trigger=created,
    condition=of_update,  # error: of an update
    operation=function_operation(lambda args: args.new_record.id),
)
create_executor(
    "body",
    trigger=incoming_webhook_trigger(body=Payment, signing_secrets=[secret("PAYMENTS")]),
    operation=function_operation(lambda args: args.body.amount),  # error: no such field
)
create_executor(
    "url",
    trigger=created,
    operation=webhook_operation(lambda args: args.new_record.url),  # error: no such field
)
