"""The app under measurement: the shop of the design with its three jobs, whose bodies do next to nothing."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr

from gqlplugin import (
    ResolverContext,
    create_executor,
    create_resolver,
    create_workflow,
    create_workflow_job,
    define_app,
    incoming_webhook_trigger,
    workflow_operation,
)


class OrderProcessing(BaseModel):
    """What the workflow takes."""

    order_id: str
    customer_id: str


class CustomerRef(BaseModel):
    """Which customer."""

    customer_id: str


class Customer(BaseModel):
    """Somebody to write to."""

    customer_id: str
    email: str


class Notification(BaseModel):
    """What is sent to whom."""

    message: str
    recipient: str


class Receipt(BaseModel):
    """What the workflow returns."""

    order_id: str
    notified: bool


@create_workflow_job(name="fetch-customer")
async def fetch_customer(input: CustomerRef) -> Customer:
    """Find the customer."""
    return Customer(customer_id=input.customer_id, email=f"{input.customer_id}@example.com")


@create_workflow_job(name="send-notification")
async def send_notification(input: Notification) -> bool:
    """Write to the customer."""
    return "@" in input.recipient


@create_workflow_job(name="process-order")
async def process_order(input: OrderProcessing) -> Receipt:
    """Process an order: the main job, which triggers the two others."""
    customer = await fetch_customer.trigger(CustomerRef(customer_id=input.customer_id))
    notified = await send_notification.trigger(Notification(message="Order processed", recipient=customer.email))
    return Receipt(order_id=input.order_id, notified=notified)


order_processing = create_workflow(name="order-processing", main_job=process_order)


class TriggerOrderProcessing(BaseModel):
    """The arguments of the mutations."""

    order_id: str = Field(description="Order ID to process")
    customer_id: str = Field(description="Customer ID for the order")


class TriggerOrderProcessingOutput(BaseModel):
    """Their answer."""

    workflow_run_id: str


@create_resolver(name="triggerOrderProcessing", operation="mutation")
async def trigger_order_processing(ctx: ResolverContext[TriggerOrderProcessing]) -> TriggerOrderProcessingOutput:
    """Start a run."""
    order = OrderProcessing(order_id=ctx.input.order_id, customer_id=ctx.input.customer_id)
    return TriggerOrderProcessingOutput(workflow_run_id=await order_processing.trigger(order))


@create_resolver(name="doNothing", operation="mutation")
async def do_nothing(ctx: ResolverContext[TriggerOrderProcessing]) -> TriggerOrderProcessingOutput:
    """Answer as the other does, and start nothing."""
    return TriggerOrderProcessingOutput(workflow_run_id=ctx.input.order_id)


HOOK = "/webhooks/order-paid/a-secret-for-the-benchmark"

order_paid = create_executor(
    "order-paid",
    trigger=incoming_webhook_trigger(body=OrderProcessing, path_secrets=[SecretStr(HOOK.rpartition("/")[2])]),
    operation=workflow_operation(order_processing, args=lambda args: args.body),
)

app = define_app(
    "bench-shop",
    workflows=[order_processing],
    resolvers=[trigger_order_processing, do_nothing],
    executors=[order_paid],
    env={"currency": "EUR"},
)


def mutation(field: str) -> str:
    """The text of one of the two mutations."""
    return (
        "mutation ($orderId: String!, $customerId: String!) "
        f"{{ {field}(orderId: $orderId, customerId: $customerId) {{ workflowRunId }} }}"
    )


VARIABLES = {"orderId": "order-1", "customerId": "customer-1"}
ORDER = {"order_id": "order-1", "customer_id": "customer-1"}
