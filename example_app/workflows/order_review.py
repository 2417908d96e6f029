"""The workflow that has a manager look at an order."""

from __future__ import annotations

from pydantic import BaseModel

from example_app.database import SHOP, ReviewRow
from gqlplugin import JobContext, create_workflow, create_workflow_job, get_db


class OrderReview(BaseModel):
    """Which order, and why."""

    order_id: str
    reason: str


@create_workflow_job(name="note-for-review")
async def note_for_review(input: OrderReview, ctx: JobContext) -> None:
    """Put the order on the managers' list; doing so again changes nothing."""
    await get_db(SHOP).merge(ReviewRow(**input.model_dump()))
    ctx.log.info("Order %s is to be reviewed: %s", input.order_id, input.reason)


order_review = create_workflow(name="order-review", main_job=note_for_review)
