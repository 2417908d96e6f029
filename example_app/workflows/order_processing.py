"""The workflow that processes an order."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from example_app.database import SHOP, OrderRow
from example_app.models import Receipt
from example_app.workflows.approval import ApprovalRequest, Decision, approval
from example_app.workflows.jobs.fetch_customer import CustomerRef, fetch_customer
from example_app.workflows.jobs.send_notification import Notice, send_notification
from gqlplugin import JobContext, JobFailedError, create_workflow, create_workflow_job, get_db


class OrderProcessing(BaseModel):
    """Which order to process, and for whom."""

    order_id: str
    customer_id: str


@create_workflow_job(name="process-order")
async def process_order(input: OrderProcessing, ctx: JobContext) -> Receipt:
    """Find the customer, have a manager approve what is large, mark the order, and notify the customer.

    After a crash or a resume, and when the manager has answered, this runs from its top. That is safe: the order it
    reads never changes in what matters here, the two jobs and the manager's decision answer from the record, and
    marking an order twice is as good as once.
    """
    customer = await fetch_customer.trigger(CustomerRef(customer_id=input.customer_id))
    ctx.progress(0.4, "customer found")
    order = await get_db(SHOP).get(OrderRow, input.order_id)
    if order is None or order.customer_id != customer.id:
        raise JobFailedError(f"{customer.name} has no order {input.order_id!r}.", code="ORDER_UNKNOWN")
    decision = Decision(approved=True)
    if order.total_cents >= int(ctx.env["approval_from_cents"]):
        request = ApprovalRequest(
            order_id=order.id, customer=customer.name, item=order.item, total_cents=order.total_cents
        )
        decision = await approval.wait(request)
    order.status = "PROCESSED" if decision.approved else "REFUSED"
    # committed before the customer is told of it: a trigger commits first
    await send_notification.trigger(Notice(message=_message(order, decision), recipient=customer.email))
    ctx.progress(0.9, "customer notified")
    await asyncio.sleep(float(ctx.env["pace"]))
    invoker = ctx.invoker.machine_user_name if ctx.invoker else "nobody"
    ctx.log.info("Order %s is %s, for %s", order.id, order.status.lower(), invoker)
    return Receipt(
        order_id=order.id,
        total_cents=order.total_cents,
        customer=customer,
        is_refused=not decision.approved,
        note=decision.note,
    )


def _message(order: OrderRow, decision: Decision) -> str:
    note = f" ({decision.note})" if decision.note else ""
    return f"Order {order.status.lower()}: {order.item}{note}"


order_processing = create_workflow(name="order-processing", main_job=process_order)
