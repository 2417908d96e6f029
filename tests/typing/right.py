"""What type checkers accept, and the types they see."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, assert_type

from pydantic import BaseModel

from gqlplugin import (
    App,
    Auth,
    AuthInvoker,
    ConcurrencyPolicy,
    JobContext,
    Resolver,
    ResolverContext,
    RetryPolicy,
    User,
    Workflow,
    WorkflowJob,
    create_resolver,
    create_workflow,
    create_workflow_job,
    define_app,
    define_auth,
    trigger_workflow,
)


class Order(BaseModel):
    """An input."""

    order_id: str


class Receipt(BaseModel):
    """An output."""

    total: int


class SignedReceipt(Receipt):
    """A subclass of an output is that output."""

    signature: str


auth = define_auth("my-auth", Literal["manager", "auditor"], attributes={"manager": {"role": "MANAGER"}})
assert_type(auth, Auth[Literal["manager", "auditor"]])
assert_type(auth.invoker("manager"), AuthInvoker)


@create_workflow_job(name="async-job")
async def async_job(input: Order) -> Receipt:
    """Takes the input alone."""
    return Receipt(total=len(input.order_id))


@create_workflow_job(name="plain-job")
def plain_job(input: Order, ctx: JobContext) -> list[Receipt]:
    """A plain function."""
    ctx.log.info("order %s", input.order_id)
    return []


@create_workflow_job(name="nothing-job")
async def nothing_job() -> int:
    """Takes nothing."""
    return 1


@create_workflow_job(name="context-job")
async def context_job(ctx: JobContext) -> str:
    """Takes its context alone."""
    return ctx.run_id


@create_workflow_job(name="plain-context-job")
def plain_context_job(ctx: JobContext) -> str:
    """The same, plain."""
    return ctx.run_id


@create_workflow_job(name="main-job")
async def main_job(input: Order, ctx: JobContext) -> Receipt | None:
    """Triggers the others, and sees the types of their results."""
    ctx.progress(0.5, "half")
    assert_type(await async_job.trigger(input), Receipt)
    assert_type(await plain_job.trigger(input), list[Receipt])
    assert_type(await nothing_job.trigger(), int)
    assert_type(await context_job.trigger(), str)
    assert_type(ctx.invoker, AuthInvoker | None)
    return None


assert_type(async_job, WorkflowJob[Order, Receipt])
assert_type(plain_job, WorkflowJob[Order, list[Receipt]])
assert_type(nothing_job, WorkflowJob[None, int])
assert_type(context_job, WorkflowJob[None, str])
assert_type(plain_context_job, WorkflowJob[None, str])
assert_type(main_job, WorkflowJob[Order, Receipt | None])


def managers_only(user: User, invoker: AuthInvoker | None) -> bool:
    """A permission."""
    return user.type == "user" and invoker is not None


processing = create_workflow(
    name="processing",
    main_job=main_job,
    permission=managers_only,
    retry_policy=RetryPolicy(max_retries=3, initial_backoff=timedelta(seconds=2)),
    concurrency_policy=ConcurrencyPolicy(max_concurrent_executions=4),
)
counting = create_workflow(name="counting", main_job=nothing_job)
elsewhere = create_workflow(name="elsewhere", input=Order)
listed = create_workflow(name="listed", input=list[int])
assert_type(processing, Workflow[Order, Receipt | None])
assert_type(counting, Workflow[None, int])
assert_type(elsewhere, Workflow[Order, Any])
assert_type(listed, Workflow[list[int], Any])


async def triggers() -> None:
    """Every way to trigger."""
    assert_type(await processing.trigger(Order(order_id="1"), auth_invoker=auth.invoker("manager")), str)
    assert_type(await processing.trigger(Order(order_id="1"), auth_invoker="manager", idempotency_key="k"), str)
    assert_type(await counting.trigger(auth_invoker="manager"), str)
    seed = await counting.trigger(auth_invoker={"namespace": "my-auth", "machineUserName": "manager"})
    assert_type(seed, str)
    assert_type(await elsewhere.trigger(Order(order_id="1")), str)
    assert_type(await listed.trigger([1, 2]), str)
    assert_type(await trigger_workflow("processing", {"order_id": "1"}), str)


def plain_triggers() -> None:
    """Every way to trigger in a plain function."""
    assert_type(processing.trigger_sync(Order(order_id="1"), auth_invoker=auth.invoker("manager")), str)
    assert_type(processing.trigger_sync(Order(order_id="1"), auth_invoker="manager", idempotency_key="k"), str)
    assert_type(counting.trigger_sync(auth_invoker="manager"), str)
    assert_type(elsewhere.trigger_sync(Order(order_id="1")), str)


@create_resolver(name="decorated", operation="mutation", description="A mutation")
async def decorated(ctx: ResolverContext[Order]) -> Receipt:
    """The decorator reads the annotations."""
    assert_type(ctx.input, Order)
    return Receipt(total=1)


@create_resolver(name="plainDecorated", operation="query", deprecation_reason="Use decorated.")
def plain_decorated(ctx: ResolverContext[None]) -> list[Receipt]:
    """A plain function without input."""
    assert_type(ctx.input, None)
    return []


assert_type(decorated, Resolver[Order, Receipt])
assert_type(plain_decorated, Resolver[None, list[Receipt]])


async def receipt(_ctx: ResolverContext[Order]) -> Receipt:
    """Returns the model."""
    return Receipt(total=1)


def plain_receipt(_ctx: ResolverContext[Order]) -> Receipt:
    """The same, plain."""
    return Receipt(total=1)


async def signed(_ctx: ResolverContext[Order]) -> SignedReceipt:
    """Returns a subclass."""
    return SignedReceipt(total=1, signature="x")


async def maybe(_ctx: ResolverContext[Order]) -> Receipt | None:
    """Returns an optional."""
    return None


async def receipts(_ctx: ResolverContext[None]) -> list[Receipt]:
    """Returns a list."""
    return []


async def fields(_ctx: ResolverContext[Order]) -> Mapping[str, Any]:
    """Returns fields by name."""
    return {"total": 1}


async def text(_ctx: ResolverContext[None]) -> str:
    """Returns a scalar."""
    return ""


assert_type(
    create_resolver(name="model", operation="query", input=Order, output=Receipt, body=receipt),
    Resolver[Order, Receipt],
)
assert_type(
    create_resolver(name="plain", operation="query", input=Order, output=Receipt, body=plain_receipt),
    Resolver[Order, Receipt],
)
assert_type(
    create_resolver(name="list", operation="query", output=list[Receipt], body=receipts),
    Resolver[None, list[Receipt]],
)
assert_type(
    create_resolver(name="scalar", operation="query", output=str, body=text, auth_invoker="manager"),
    Resolver[None, str],
)
subclass = create_resolver(name="subclass", operation="query", input=Order, output=Receipt, body=signed)
optional = create_resolver(name="optional", operation="query", input=Order, output=Receipt | None, body=maybe)
by_name = create_resolver(name="byName", operation="query", input=Order, output={"total": int}, body=fields)

assert_type(
    define_app(
        "shop",
        auth=auth,
        workflows=[processing, counting, elsewhere],
        resolvers=[decorated, plain_decorated, subclass, optional, by_name],
        jobs=[async_job],
        env={"currency": "EUR", "retries": 3},
    ),
    App,
)
