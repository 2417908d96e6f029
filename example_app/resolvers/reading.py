"""The queries: customers, their orders, the outbox, and what the shop wrote down."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import select

from example_app.database import SHOP, ActivityRow, CustomerRow, NotificationRow, OrderRow, ReportRow, ReviewRow
from example_app.models import Activity, Customer, Notification, Order, Report, Review
from gqlplugin import ResolverContext, create_resolver, get_db


class OrdersOf(BaseModel):
    """The arguments of `orders`."""

    customer_id: str | None = None


class NotificationsTo(BaseModel):
    """The arguments of `notifications`."""

    recipient: str | None = None


@create_resolver(name="customers", operation="query", description="Everybody who can order")
async def customers(_: ResolverContext[None]) -> list[Customer]:
    """By name."""
    rows = await get_db(SHOP).scalars(select(CustomerRow).order_by(CustomerRow.name))
    return [Customer.model_validate(row) for row in rows]


@create_resolver(name="orders", operation="query", description="Orders, of one customer or of all, oldest first")
async def orders(ctx: ResolverContext[OrdersOf]) -> list[Order]:
    """By ID, which is by age."""
    query = select(OrderRow).order_by(OrderRow.id)
    if ctx.input.customer_id is not None:
        query = query.where(OrderRow.customer_id == ctx.input.customer_id)
    return [Order.model_validate(row) for row in await get_db(SHOP).scalars(query)]


@create_resolver(name="notifications", operation="query", description="The outbox, oldest first")
async def notifications(ctx: ResolverContext[NotificationsTo]) -> list[Notification]:
    """By age."""
    query = select(NotificationRow).order_by(NotificationRow.created_at)
    if ctx.input.recipient is not None:
        query = query.where(NotificationRow.recipient == ctx.input.recipient)
    return [Notification.model_validate(row) for row in await get_db(SHOP).scalars(query)]


@create_resolver(name="reviews", operation="query", description="The orders that a manager is to look at")
async def reviews(_: ResolverContext[None]) -> list[Review]:
    """By age of the order."""
    rows = await get_db(SHOP).scalars(select(ReviewRow).order_by(ReviewRow.order_id))
    return [Review.model_validate(row) for row in rows]


@create_resolver(name="activities", operation="query", description="What happened to the orders")
async def activities(_: ResolverContext[None]) -> list[Activity]:
    """By age of the order."""
    rows = await get_db(SHOP).scalars(select(ActivityRow).order_by(ActivityRow.order_id, ActivityRow.text))
    return [Activity.model_validate(row) for row in rows]


@create_resolver(name="reports", operation="query", description="The reports of each day, newest first")
async def reports(_: ResolverContext[None]) -> list[Report]:
    """By age."""
    rows = await get_db(SHOP).scalars(select(ReportRow).order_by(ReportRow.day.desc()))
    return [Report.model_validate(row) for row in rows]
