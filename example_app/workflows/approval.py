"""Where a large order waits for a manager."""

from __future__ import annotations

from pydantic import BaseModel, Field

from gqlplugin import define_wait_point


class ApprovalRequest(BaseModel):
    """What the manager is told."""

    order_id: str
    customer: str
    item: str
    total_cents: int


class Decision(BaseModel):
    """What the manager answers."""

    approved: bool
    note: str | None = Field(default=None, max_length=500, description="For the customer.")


approval = define_wait_point("approval", payload=ApprovalRequest, result=Decision)
