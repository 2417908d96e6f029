"""A large order starts a workflow: what a change of a record does."""

from __future__ import annotations

from example_app.auth import auth
from example_app.database import OrderRow
from example_app.workflows.order_review import OrderReview, order_review
from gqlplugin import RecordCreatedArgs, create_executor, record_created_trigger, workflow_operation

LARGE_CENTS = 50_000


def _review(args: RecordCreatedArgs[OrderRow]) -> OrderReview:
    order = args.new_record
    return OrderReview(order_id=order.id, reason=f"{order.item} for {order.total_cents / 100:.2f} EUR")


order_created = create_executor(
    "order-created",
    description="Has a manager look at large orders.",
    trigger=record_created_trigger(OrderRow),
    condition=lambda args: args.new_record.total_cents >= LARGE_CENTS,
    operation=workflow_operation(order_review, args=_review, auth_invoker=auth.invoker("manager-machine-user")),
)
