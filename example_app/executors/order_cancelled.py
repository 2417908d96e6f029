"""Who cancelled is told so: a function as durable as a job, with jobs of its own."""

from __future__ import annotations

from example_app.database import OrderRow
from example_app.workflows.jobs.fetch_customer import CustomerRef, fetch_customer
from example_app.workflows.jobs.send_notification import Notice, send_notification
from gqlplugin import RecordDeletedArgs, create_executor, function_operation, record_deleted_trigger


async def notify_of_cancellation(args: RecordDeletedArgs[OrderRow]) -> None:
    """Find the customer of an order that is gone, and notify them."""
    order = args.old_record
    customer = await fetch_customer.trigger(CustomerRef(customer_id=order.customer_id))
    await send_notification.trigger(Notice(message=f"Order cancelled: {order.item}", recipient=customer.email))


order_cancelled = create_executor(
    "order-cancelled",
    description="Tells customers that their order is cancelled.",
    trigger=record_deleted_trigger(OrderRow),
    operation=function_operation(notify_of_cancellation),
)
