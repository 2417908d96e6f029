"""The mutation that writes down what happened to an order."""

from __future__ import annotations

from pydantic import BaseModel, Field

from example_app.auth import is_manager
from example_app.database import SHOP, ActivityRow
from example_app.models import Activity
from gqlplugin import ForbiddenError, ResolverContext, create_resolver, get_db


class RecordActivity(BaseModel):
    """The arguments of the mutation."""

    order_id: str
    text: str = Field(min_length=1, max_length=500)


@create_resolver(
    name="recordActivity", operation="mutation", description="Write down what happened to an order; for the shop itself"
)
async def record_activity(ctx: ResolverContext[RecordActivity]) -> Activity:
    """Keep it, once: what calls this may do so again."""
    if ctx.user.type != "machine_user" or not is_manager(ctx.user):
        raise ForbiddenError("Only the shop itself records activities.")
    row = await get_db(SHOP).merge(ActivityRow(**ctx.input.model_dump()))
    return Activity.model_validate(row)
