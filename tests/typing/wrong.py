"""What type checkers refuse: each line marked `error` is an error, and no other line is.

For pyright the expression `Receipt | None` has no type that tells of `Receipt`, hence one line for mypy alone.
"""

from typing import Any, Literal

from pydantic import BaseModel

from gqlplugin import (
    JobContext,
    ResolverContext,
    create_resolver,
    create_workflow,
    create_workflow_job,
    define_app,
    define_auth,
)


class Order(BaseModel):
    """An input."""

    order_id: str


class Receipt(BaseModel):
    """An output."""

    total: int


auth = define_auth("my-auth", Literal["manager", "auditor"])
auth.invoker("manger")  # error: misspelt


@create_workflow_job(name="async-job")
async def async_job(input: Order) -> Receipt:
    """An async job."""
    return Receipt(total=len(input.order_id))


@create_workflow_job(name="nothing-job")
def nothing_job() -> int:
    """A plain job without input."""
    return 1


@create_workflow_job(name="greedy-job")  # error: a job takes at most an input and a context
async def greedy_job(input: Order, ctx: JobContext, more: int) -> None:
    """Takes too much."""


@create_workflow_job(name="main-job")
async def main_job(input: Order, ctx: JobContext) -> Receipt:
    """Triggers wrongly."""
    await async_job.trigger(Receipt(total=1))  # error: another model
    await async_job.trigger({"order_id": "1"})  # error: a dict
    await async_job.trigger()  # error: no input
    await async_job.trigger(input.order_number)  # error: no such field
    await nothing_job.trigger(input)  # error: takes nothing
    result: str = await nothing_job.trigger()  # error: returns int
    ctx.progress("half")  # error: a fraction
    return (await async_job.trigger(input)).model_copy(update={"total": result})


processing = create_workflow(name="processing", main_job=main_job)
counting = create_workflow(name="counting", main_job=nothing_job)
elsewhere = create_workflow(name="elsewhere", input=Order)
create_workflow(name="nothing")  # error: neither main_job nor input
create_workflow(name="function", main_job=define_app)  # error: not a job
create_workflow(name="both", main_job=main_job, input=Order)  # error: main_job or input, not both
create_workflow(name="permission", main_job=main_job, permission=lambda user: user.is_anonymous)  # error: two arguments
create_workflow(name="retry", main_job=main_job, retry_policy=3)  # error: not a policy


async def triggers() -> None:
    """Wrong ways to trigger."""
    await processing.trigger(Receipt(total=1))  # error: another model
    await processing.trigger({"order_id": "1"})  # error: a dict
    await processing.trigger()  # error: no arguments
    await counting.trigger(Order(order_id="1"))  # error: takes nothing
    await elsewhere.trigger(Receipt(total=1))  # error: another model
    await processing.trigger(Order(order_id="1"), auth_invoker=auth.invoker("nobody"))  # error: misspelt
    await processing.trigger(Order(order_id="1"), auth_invoker=3)  # error: not an invoker
    await processing.trigger(Order(order_id="1"), auth_invoker={"namespace": "my-auth"})  # error: half an invoker
    await processing.trigger(Order(order_id="1"), idempotence_key="k")  # error: misspelt
    run_id: int = await processing.trigger(Order(order_id="1"))  # error: an ID is text
    processing.trigger_sync(Receipt(total=1))  # error: another model
    processing.trigger_sync()  # error: no arguments
    counting.trigger_sync(Order(order_id="1"))  # error: takes nothing
    processing.trigger_sync(Order(order_id="1"), auth_invoker=3)  # error: not an invoker
    await processing.trigger_sync(Order(order_id="1"))  # error: text is not awaited
    print(run_id)  # noqa: T201 - uses the name


@create_resolver(name="wrongField", operation="mutation")
async def wrong_field(ctx: ResolverContext[Order]) -> Receipt:
    """Reads a field that the input does not have, and returns another model."""
    print(ctx.input.order_number)  # error: no such field  # noqa: T201
    return Order(order_id="1")  # error: another model


@create_resolver(name="notModel", operation="query")  # error: the input must be a model
async def not_model(ctx: ResolverContext[int]) -> Receipt:
    """Takes an int."""
    return Receipt(total=ctx.input)


@create_resolver(name="noContext", operation="query")  # error: a body takes a context
async def no_context() -> Receipt:
    """Takes nothing."""
    return Receipt(total=1)


@create_resolver(name="noName", operation="subscription")  # error: no such operation
async def no_operation(ctx: ResolverContext[None]) -> Receipt:
    """Has a wrong operation."""
    return Receipt(total=1)


async def receipt(_ctx: ResolverContext[Order]) -> Receipt:
    """Takes an order and returns a receipt."""
    return Receipt(total=1)


def plain_receipt(_ctx: ResolverContext[Order]) -> Receipt:
    """The same, plain."""
    return Receipt(total=1)


async def receipts(_ctx: ResolverContext[Order]) -> list[Receipt]:
    """Returns a list."""
    return []


async def maybe(_ctx: ResolverContext[Order]) -> Order | None:
    """Returns an optional."""
    return None


async def fields(_ctx: ResolverContext[Order]) -> dict[str, Any]:
    """Returns fields by name."""
    return {}


async def number(_ctx: ResolverContext[None]) -> int:
    """Returns a scalar."""
    return 1


create_resolver(name="a", operation="query", input=Order, output=Order, body=receipt)  # error: returns another model
create_resolver(name="b", operation="query", input=Order, output=Order, body=plain_receipt)  # error: the same, plain
create_resolver(name="c", operation="query", input=Receipt, output=Receipt, body=receipt)  # error: takes another model
create_resolver(name="d", operation="query", output=Receipt, body=receipt)  # error: has an input
create_resolver(name="e", operation="query", input=Order, output=int, body=number)  # error: takes no input
create_resolver(name="f", operation="query", output=str, body=number)  # error: returns another scalar
create_resolver(name="g", operation="query", input=Order, output=str, body=receipt)  # error: returns a model
create_resolver(name="h", operation="query", output=Receipt, body=number)  # error: returns a scalar
create_resolver(name="i", operation="query", input=Order, output=list[Order], body=receipts)  # error: of other models
create_resolver(name="j", operation="query", input=Order, output=Receipt, body=receipts)  # error: returns a list
create_resolver(name="k", operation="query", input=Order, output={"total": int}, body=receipt)  # error: returns a model
create_resolver(name="l", operation="query", output={"total": int}, body=fields)  # error: has an input
create_resolver(name="m", operation="query", input=Order, output=Receipt | None, body=maybe)  # error in mypy: Order
create_resolver(name="n", operation="query", input=int, output=Receipt, body=receipt)  # error: not a model
create_resolver(name="o", operation="query", input=Order, output=Receipt)  # error: no body
create_resolver(name="p", operation="subscription", input=Order, output=Receipt, body=receipt)  # error: no such one
create_resolver(name="q", operation="query", input=Order, output=Receipt, body=receipt, mame="x")  # error: typo
create_resolver(name="r", operation="query", input=Order, output=Receipt, body=receipt, description=3)  # error: int

define_app("shop", workflows=[main_job])  # error: a job is not a workflow
define_app("shop", workflows=[processing], env={"currencies": ["EUR"]})  # error: not a plain value
