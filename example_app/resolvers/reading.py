"""The queries: customers, their orders, and the outbox."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import select

from example_app.database import CustomerRow, NotificationRow, OrderRow, transaction
from example_app.models import Customer, Notification, Order
from gqlplugin import ResolverContext, create_resolver


class OrdersOf(BaseModel):
    """The arguments of `orders`."""

    customer_id: str | None = None


class NotificationsTo(BaseModel):
    """The arguments of `notifications`."""

    recipient: str | None = None


@create_resolver(name="customers", operation="query", description="Everybody who can order")
async def customers(ctx: ResolverContext[None]) -> list[Customer]:
    """By name."""
    async with transaction(ctx.env) as session:
        rows = await session.scalars(select(CustomerRow).order_by(CustomerRow.name))
        return [Customer.model_validate(row) for row in rows]


@create_resolver(name="orders", operation="query", description="Orders, of one customer or of all")
async def orders(ctx: ResolverContext[OrdersOf]) -> list[Order]:
    """By ID."""
    query = select(OrderRow).order_by(OrderRow.id)
    if ctx.input.customer_id is not None:
        query = query.where(OrderRow.customer_id == ctx.input.customer_id)
    async with transaction(ctx.env) as session:
        return [Order.model_validate(row) for row in await session.scalars(query)]


@create_resolver(name="notifications", operation="query", description="The outbox, oldest first")
async def notifications(ctx: ResolverContext[NotificationsTo]) -> list[Notification]:
    """By age."""
    query = select(NotificationRow).order_by(NotificationRow.created_at)
    if ctx.input.recipient is not None:
        query = query.where(NotificationRow.recipient == ctx.input.recipient)
    async with transaction(ctx.env) as session:
        return [Notification.model_validate(row) for row in await session.scalars(query)]
