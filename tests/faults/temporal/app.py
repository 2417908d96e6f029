"""What goes on under faults: orders whose every step is written in a ledger."""

import asyncio
from datetime import timedelta

from pydantic import BaseModel

from gqlplugin.app import define_app
from gqlplugin.errors import JobFailedError
from gqlplugin.job import JobContext, WorkflowJob, create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import RetryPolicy
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.faults.temporal.ledger import Word, hold, is_first_time, note

STEPS = ("pack", "pack/0", "pack/1", "refuse", "pay", "bill")
"""The steps of an order, in their order, beside its delivery, which is a run of its own."""

ORDER = "order"
DELIVER = "deliver"


class Step(BaseModel):
    """What a step is, and how long it takes."""

    name: str
    seconds: float


class Order(BaseModel):
    """What an order takes.

    Attributes:
        number: Which order.
        seconds: How long each of its steps takes.
        asks: Whether it waits to be approved.
    """

    number: int
    seconds: float = 0.1
    asks: bool = True


approval = define_wait_point("approval", payload=int, result=bool)


@create_workflow_job(name="work")
async def work(input: Step, ctx: JobContext) -> str:
    note(ctx.run_id, input.name, Word.BEGINS)
    await asyncio.sleep(input.seconds)
    await hold(input.name)
    note(ctx.run_id, input.name, Word.ENDS)
    return input.name


@create_workflow_job(name="pack")
async def pack(input: Step, ctx: JobContext) -> str:
    note(ctx.run_id, input.name, Word.BEGINS)
    for number in range(2):
        await _known(work, Step(name=f"{input.name}/{number}", seconds=input.seconds), ctx)
    return input.name


@create_workflow_job(name="refuse")
async def refuse(input: Step, ctx: JobContext) -> str:
    note(ctx.run_id, input.name, Word.BEGINS)
    raise JobFailedError("The customer is not known.", code="NO_CUSTOMER")


@create_workflow_job(name="pay")
async def pay(input: Step, ctx: JobContext) -> str:
    note(ctx.run_id, input.name, Word.BEGINS)
    if is_first_time(ctx.run_id):
        raise JobFailedError("The bank does not answer.")
    return input.name


@create_workflow_job(name="deliver")
async def deliver(input: str, ctx: JobContext) -> str:
    """The run of a delivery, which names the order it belongs to."""
    note(ctx.run_id, DELIVER, Word.BEGINS)
    await _known(work, Step(name="drive", seconds=0.1), ctx)
    return input


@create_workflow_job(name="order")
async def process(input: Order, ctx: JobContext) -> int:
    note(ctx.run_id, ORDER, Word.BEGINS)
    try:
        await _steps(input, ctx)
    finally:
        note(ctx.run_id, ORDER, Word.LEAVES)
    return input.number


async def _steps(input: Order, ctx: JobContext) -> None:
    await _known(pack, Step(name="pack", seconds=input.seconds), ctx)
    await _known(refuse, Step(name="refuse", seconds=input.seconds), ctx)
    if input.asks:
        await approval.wait(input.number)
    note(ctx.run_id, DELIVER, Word.KNOWN, await delivery.trigger(ctx.run_id))
    await _known(pay, Step(name="pay", seconds=input.seconds), ctx)
    await hold("between")
    await _known(work, Step(name="bill", seconds=input.seconds), ctx)


async def _known(job: WorkflowJob[Step, str], step: Step, ctx: JobContext) -> None:
    """Have a step done, and write that its outcome is known: it is recorded, whatever happens from here on."""
    try:
        await job.trigger(step)
    except JobFailedError as error:
        if error.job_code != "NO_CUSTOMER":
            raise
    note(ctx.run_id, step.name, Word.KNOWN)


order = create_workflow(
    name="order", main_job=process, retry_policy=RetryPolicy(max_retries=3, initial_backoff=timedelta(seconds=0.2))
)
delivery = create_workflow(name="delivery", main_job=deliver)


class Number(BaseModel):
    """What the mutation takes."""

    number: int


@create_resolver(name="startOrder", operation="mutation")
async def start_order(ctx: ResolverContext[Number]) -> str:
    return await order.trigger(Order(number=ctx.input.number, seconds=0.05, asks=False))


app = define_app("faults", workflows=[order, delivery], wait_points=[approval], resolvers=[start_order])
