"""The mutations that place an order."""

from __future__ import annotations

import secrets
import time

from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError

from example_app.auth import auth, run_tokens
from example_app.database import SHOP, CustomerRow, OrderRow, RequestRow
from example_app.models import Order
from example_app.workflows.order_processing import OrderProcessing, order_processing
from gqlplugin import (
    FailedPreconditionError,
    IdempotencyKeyReusedError,
    NotFoundError,
    ResolverContext,
    create_resolver,
    get_db,
)


class PlaceOrder(BaseModel):
    """The arguments of both mutations."""

    customer_id: str
    item: str = Field(min_length=1, max_length=200)
    total_cents: int = Field(ge=0)


class PlaceOrderOnce(PlaceOrder):
    """The arguments of `placeOrder`."""

    request_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="The caller's own: a request that comes again is answered with the same order.",
    )


class PlacedOrder(BaseModel):
    """An order, and the run that processes it."""

    order: Order
    workflow_run_id: str
    run_token: str = Field(description="With it as bearer token, anybody may follow and cancel the run for 15 minutes.")


@create_resolver(name="placeOrder", operation="mutation", description="Place an order; process it with the other one")
async def place_order(ctx: ResolverContext[PlaceOrderOnce]) -> Order:
    """Keep the order, unless this request has placed one before.

    Raises:
        NotFoundError: There is no such customer, or the order was cancelled since.
        FailedPreconditionError: The same request was answered at this moment.
        IdempotencyKeyReusedError: The request has placed another order.
    """
    key = ctx.input.request_key
    if key is None:
        return Order.model_validate(await new_order(ctx.input))
    db = get_db(SHOP)
    earlier = await db.get(RequestRow, (ctx.user.id, key))
    if earlier is None:
        order = await new_order(ctx.input)
        db.add(RequestRow(caller_id=ctx.user.id, key=key, order_id=order.id))
        try:
            await db.flush()
        except IntegrityError:
            raise FailedPreconditionError("This request came twice at the same time: ask once more.") from None
        return Order.model_validate(order)
    placed = await db.get(OrderRow, earlier.order_id)
    if placed is None:
        raise NotFoundError(f"Order {earlier.order_id!r} was cancelled.")
    asked = ctx.input
    if (placed.customer_id, placed.item, placed.total_cents) != (asked.customer_id, asked.item, asked.total_cents):
        raise IdempotencyKeyReusedError("This request key was used for another order: take a new one.")
    return Order.model_validate(placed)


@create_resolver(
    name="placeAndProcessOrder",
    operation="mutation",
    description="Place an order and process it: the order is kept and its run starts, or neither",
)
async def place_and_process_order(ctx: ResolverContext[PlaceOrder]) -> PlacedOrder:
    """Keep the order, and start the workflow in the same transaction."""
    order = await new_order(ctx.input)
    run_id = await order_processing.trigger(
        OrderProcessing(order_id=order.id, customer_id=order.customer_id),
        auth_invoker=auth.invoker("manager-machine-user"),
        session=get_db(SHOP),
    )
    token = run_tokens.issue(run_id, may_cancel=True)
    return PlacedOrder(order=Order.model_validate(order), workflow_run_id=run_id, run_token=token)


async def new_order(given: PlaceOrder) -> OrderRow:
    """Add an order to what the resolver that is running commits at its end.

    Raises:
        NotFoundError: There is no such customer.
    """
    db = get_db(SHOP)
    if await db.get(CustomerRow, given.customer_id) is None:
        raise NotFoundError(f"There is no customer {given.customer_id!r}.")
    # IDs sort by time, to the microsecond
    order = OrderRow(
        id=f"order-{time.time_ns() // 1000:x}{secrets.token_hex(1)}",
        status="PLACED",
        **given.model_dump(exclude={"request_key"}),
    )
    db.add(order)
    return order
