"""Cron expressions as Temporal's calendars: with what is surplus left out, Temporal fires at our times."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import Client, ScheduleActionStartWorkflow, ScheduleSpec
from temporalio.client import Schedule as TemporalSchedule

from gqlplugin.platform.temporal.schedules import HORIZON, catchup_window, is_surplus, spec_of
from gqlplugin.schedule import GRACE
from tests.test_schedule import CHANGES, between, parse, utc

pytestmark = pytest.mark.anyio

NOW = utc("2026-01-01T00:00")


async def fired(client: Client, spec: ScheduleSpec, start: datetime, end: datetime) -> list[datetime]:
    """When Temporal would fire, after a moment and up to another; it tells at most a thousand."""
    action = ScheduleActionStartWorkflow("nothing", id="nothing", task_queue="nothing")
    handle = await client.create_schedule(f"{uuid4()}", TemporalSchedule(action=action, spec=spec))
    request = ListScheduleMatchingTimesRequest(namespace=client.namespace, schedule_id=handle.id)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    response = await client.workflow_service.list_schedule_matching_times(request)
    await handle.delete()
    times = [moment.ToDatetime(UTC) for moment in response.start_time]
    assert len(times) < 1000
    return times


async def check(client: Client, cron: str, timezone: str, start: datetime, end: datetime) -> None:
    """Compare Temporal's times with ours."""
    schedule = parse(cron, timezone)
    times = await fired(client, spec_of(schedule, NOW), start, end)
    kept = [moment for moment in times if not is_surplus(schedule, moment)]
    assert kept == between(schedule, start, end), f"{cron} in {timezone} from {start}"


@pytest.mark.parametrize("timezone", [*CHANGES, "Antarctica/Troll", "Asia/Kathmandu"])
async def test_nights_in_which_clocks_are_set(temporal_client: Client, timezone: str) -> None:
    """Around every change of the clocks, also of half an hour or two, each kind of expression fires by our rule."""
    changes = CHANGES.get(timezone, ["2026-03-29", "2026-10-25"])
    expressions = (
        "* * * * *",
        "30 * * * *",
        "@hourly",
        "0 */2 * * *",
        "0 1-23/2 * * *",
        "*/15 0 * * *",
        "*/15 1 * * *",
        "*/15 2 * * *",
        "*/15 3 * * *",
        "*/15 23 * * *",
        "10,40 0-4 * * *",
        "@daily",
    )
    nights = [(utc(f"{day}T12:00") - timedelta(hours=30), utc(f"{day}T00:00") + timedelta(hours=6)) for day in changes]
    for start, end in nights:
        for cron in expressions:
            first = end - timedelta(hours=16) if cron == "* * * * *" else start
            await check(temporal_client, cron, timezone, first, end)


@pytest.mark.parametrize(
    "cron",
    [
        "0 9 * * MON-FRI",
        "0 0 13 * FRI",
        "0 12 L * *",
        "0 12 LW * *",
        "0 12 L * MON",
        "0 12 15,L * *",
        "0 0 * * MON#2",
        "0 0 * * 5L",
        "0 0 31 * TUE#5",
        "0 0 */2 * MON",
        "0 0 1,15 * */2",
        "0 0 * JUL,AUG 7",
        "0 0 * * 0,3-5",
        "15 10 29 2 *",
        "@weekly",
        "@monthly",
        "@Yearly",
    ],
)
async def test_days(temporal_client: Client, cron: str) -> None:
    """Days of the month and of the week, last ones and numbered ones are those that cron has."""
    for timezone in ("UTC", "Asia/Kolkata"):
        await check(temporal_client, cron, timezone, NOW, NOW + timedelta(days=900))


async def test_the_changes_of_two_years_are_known(temporal_client: Client) -> None:
    """What is said now is right in the nights in which clocks are set until the horizon."""
    for day in ("2027-03-28", "2027-10-31"):
        assert utc(f"{day}T00:00") < NOW + HORIZON
        start = utc(f"{day}T12:00") - timedelta(hours=30)
        await check(temporal_client, "*/15 1-2 * * *", "Europe/Berlin", start, start + timedelta(hours=30))


def test_what_is_fired_by_hand_is_not_surplus() -> None:
    """A moment that is no time of a schedule, and that a specification does not bring, was asked for."""
    assert not is_surplus(parse("@daily"), utc("2026-06-01T12:34"))
    assert not is_surplus(parse("@daily"), utc("2026-06-01T12:34:56"))
    assert not is_surplus(parse("0 2 L * *"), utc("2026-06-01T12:34:56"))
    assert not is_surplus(parse("30 2 * * *", "Europe/Berlin"), utc("2026-10-25T01:30:01"))
    assert is_surplus(parse("30 2 * * *", "Europe/Berlin"), utc("2026-10-25T01:30"))
    assert is_surplus(parse("0 2 L * *"), utc("2026-06-29T02:00"))


@pytest.mark.parametrize(
    ("cron", "window"),
    [
        ("* * * * *", timedelta(minutes=999)),
        ("@hourly", timedelta(hours=999)),
        ("@daily", timedelta(days=365)),
        ("0 0 29 2 *", timedelta(days=365)),
    ],
)
def test_an_outage_leaves_the_newest_times(cron: str, window: timedelta) -> None:
    """Temporal makes up for a thousand times, which are as many as it keeps, and for none that is older than a year."""
    assert catchup_window(parse(cron), NOW) == window
    assert catchup_window(parse(cron, missed="all"), NOW) == window
    assert catchup_window(parse(cron, missed="none"), NOW) == GRACE


def test_a_specification_is_small() -> None:
    """A specification stays small enough for Temporal, whatever the expression."""
    spec = spec_of(parse("* * * * *", "America/New_York"), NOW)
    assert len(spec.intervals) <= 600
    assert not spec_of(parse("* * * * *"), NOW).intervals
