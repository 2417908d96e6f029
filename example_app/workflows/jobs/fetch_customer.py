"""The job that looks a customer up."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from example_app.database import SHOP, CustomerRow
from example_app.models import Customer
from gqlplugin import JobContext, JobFailedError, create_workflow_job, get_db


class CustomerRef(BaseModel):
    """Which customer."""

    customer_id: str


@create_workflow_job(name="fetch-customer")
async def fetch_customer(input: CustomerRef, ctx: JobContext) -> Customer:
    """Read the customer. What is recorded here is what a resumed run goes on with."""
    await asyncio.sleep(float(ctx.env["pace"]))
    row = await get_db(SHOP).get(CustomerRow, input.customer_id)
    if row is None:
        raise JobFailedError(f"There is no customer {input.customer_id!r}.", code="CUSTOMER_UNKNOWN")
    ctx.log.info("Customer %s is %s", row.id, row.name)
    return Customer.model_validate(row)
