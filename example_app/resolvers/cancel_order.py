"""The mutation that cancels an order."""

from __future__ import annotations

from pydantic import BaseModel

from example_app.database import SHOP, OrderRow
from example_app.models import Order
from gqlplugin import FailedPreconditionError, NotFoundError, ResolverContext, create_resolver, get_db


class CancelOrder(BaseModel):
    """The arguments of the mutation."""

    order_id: str


@create_resolver(
    name="cancelOrder", operation="mutation", description="Cancel an order that is not processed; its customer is told"
)
async def cancel_order(ctx: ResolverContext[CancelOrder]) -> Order:
    """Delete the order, and answer what it was. That its customer is told is the executor `order-cancelled`."""
    db = get_db(SHOP)
    order = await db.get(OrderRow, ctx.input.order_id)
    if order is None:
        raise NotFoundError(f"There is no order {ctx.input.order_id!r}.")
    if order.status != "PLACED":
        raise FailedPreconditionError(f"Order {order.id!r} is {order.status}: only a PLACED one can be cancelled.")
    await db.delete(order)
    return Order.model_validate(order)
