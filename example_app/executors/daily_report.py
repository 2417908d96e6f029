"""Each night the orders are counted: a schedule."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from example_app.database import SHOP, OrderRow, ReportRow
from example_app.models import Report
from gqlplugin import JobContext, ScheduleArgs, create_executor, function_operation, get_db, schedule_trigger

TIMEZONE = "Europe/Berlin"


async def count_orders(args: ScheduleArgs, ctx: JobContext) -> Report:
    """Keep how many orders there are, by status; for a day that was counted before, the new numbers."""
    db = get_db(SHOP)
    rows = await db.execute(select(OrderRow.status, func.count()).group_by(OrderRow.status))
    counted = dict(rows.all())
    day = args.scheduled_time.astimezone(ZoneInfo(TIMEZONE)).date()
    report = Report(day=day, placed=counted.get("PLACED", 0), processed=counted.get("PROCESSED", 0))
    await db.merge(ReportRow(**report.model_dump()))
    ctx.log.info("%d orders are placed, %d are processed", report.placed, report.processed)
    return report


daily_report = create_executor(
    "daily-report",
    description="Counts the orders by status.",
    trigger=schedule_trigger("0 2 * * *", timezone=TIMEZONE),
    operation=function_operation(count_orders),
)
