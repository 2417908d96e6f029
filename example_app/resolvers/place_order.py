"""The mutation that places an order."""

from __future__ import annotations

from uuid import uuid4

from pydantic import BaseModel, Field

from example_app.database import CustomerRow, OrderRow, transaction
from example_app.models import Order
from gqlplugin import NotFoundError, ResolverContext, create_resolver


class PlaceOrder(BaseModel):
    """The arguments of the mutation."""

    customer_id: str
    item: str = Field(min_length=1, max_length=200)
    total_cents: int = Field(ge=0)


@create_resolver(name="placeOrder", operation="mutation", description="Place an order; process it with the other one")
async def place_order(ctx: ResolverContext[PlaceOrder]) -> Order:
    """Keep the order."""
    async with transaction(ctx.env) as session:
        if await session.get(CustomerRow, ctx.input.customer_id) is None:
            raise NotFoundError(f"There is no customer {ctx.input.customer_id!r}.")
        order = OrderRow(id=f"order-{uuid4().hex[:8]}", **ctx.input.model_dump())
        session.add(order)
    return Order.model_validate(order)
