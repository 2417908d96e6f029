"""What is paid is processed: an incoming webhook."""

from __future__ import annotations

from pydantic import BaseModel, Field

from example_app.auth import auth
from example_app.workflows.order_processing import OrderProcessing, order_processing
from gqlplugin import create_executor, incoming_webhook_trigger, secret, workflow_operation


class Payment(BaseModel):
    """What the payment provider sends."""

    order_id: str
    customer_id: str
    amount_cents: int = Field(ge=0)


payment_received = create_executor(
    "payment-received",
    description="Processes orders that were paid; the provider signs with SHOP_WEBHOOK_SECRET.",
    trigger=incoming_webhook_trigger(body=Payment, signing_secrets=[secret("SHOP_WEBHOOK_SECRET")]),
    operation=workflow_operation(
        order_processing,
        args=lambda args: OrderProcessing(order_id=args.body.order_id, customer_id=args.body.customer_id),
        auth_invoker=auth.invoker("manager-machine-user"),
    ),
)
