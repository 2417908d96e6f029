"""The mutation that starts the workflow."""

from __future__ import annotations

from pydantic import BaseModel, Field

from example_app.auth import auth, run_tokens
from example_app.workflows.order_processing import OrderProcessing, order_processing
from gqlplugin import ResolverContext, create_resolver


class TriggerOrderProcessing(BaseModel):
    """The arguments of the mutation."""

    order_id: str = Field(description="Order ID to process")
    customer_id: str = Field(description="Customer ID for the order")


class TriggerOrderProcessingOutput(BaseModel):
    """What the frontend follows the run by."""

    workflow_run_id: str
    run_token: str = Field(description="With it as bearer token, anybody may follow and cancel the run for 15 minutes.")


@create_resolver(
    name="triggerOrderProcessing", operation="mutation", description="Trigger the order processing workflow"
)
async def trigger_order_processing(ctx: ResolverContext[TriggerOrderProcessing]) -> TriggerOrderProcessingOutput:
    """Start the workflow and answer at once."""
    run_id = await order_processing.trigger(
        OrderProcessing(order_id=ctx.input.order_id, customer_id=ctx.input.customer_id),
        auth_invoker=auth.invoker("manager-machine-user"),
    )
    return TriggerOrderProcessingOutput(workflow_run_id=run_id, run_token=run_tokens.issue(run_id, may_cancel=True))
