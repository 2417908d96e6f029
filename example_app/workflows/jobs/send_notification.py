"""The job that notifies somebody."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from example_app.database import SHOP, NotificationRow
from gqlplugin import JobContext, create_workflow_job, get_db


class Notice(BaseModel):
    """What to say, and to whom."""

    message: str
    recipient: str


@create_workflow_job(name="send-notification")
async def send_notification(input: Notice, ctx: JobContext) -> None:
    """Put a message into the outbox, once per run.

    A job runs again when the process dies before its end is recorded; then the row is there already, and stays.
    """
    for step in range(1, 5):
        ctx.progress(step / 4, f"writing to {input.recipient}")
        await asyncio.sleep(float(ctx.env["pace"]) / 2)
    db = get_db(SHOP)
    if await db.get(NotificationRow, ctx.run_id) is None:
        db.add(NotificationRow(run_id=ctx.run_id, recipient=input.recipient, message=input.message))
    ctx.log.info("Notified %s", input.recipient)
