"""Schedules of executors as Temporal schedules, cron expressions included."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim
from temporalio import activity, workflow
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.client import Schedule as TemporalSchedule
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from gqlplugin.checks import executor_of, is_name
from gqlplugin.errors import DefinitionError, NotFoundError
from gqlplugin.identity import executor_user
from gqlplugin.platform.base import Definitions
from gqlplugin.platform.temporal.batch import start_child
from gqlplugin.platform.temporal.client import answering
from gqlplugin.platform.temporal.messages import FIRE, NewRun
from gqlplugin.platform.temporal.starts import new_run
from gqlplugin.schedule import GRACE, MOST_MISSED, MissedPolicy, Schedule, scheduled_arg

HORIZON = timedelta(days=730)
"""How far ahead the changes of clocks are in a specification."""

MOST_CATCH_UP = timedelta(days=365)
"""How long ago a time may be that Temporal makes up for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERY_LONG = timedelta(days=50 * 365)
_HOUR = timedelta(hours=1)
_NEAR = timedelta(hours=5)
_SECOND = timedelta(seconds=1)
_DAYS = frozenset(range(1, 32))
_WEEKDAYS = frozenset(range(7))
_LAST_DAYS = frozenset(range(26, 32))
_LAST_WEEK = frozenset(range(22, 32))


def spec_of(schedule: Schedule, now: datetime) -> ScheduleSpec:
    """When Temporal is to fire: at least at the times of a schedule, those around changes of clocks one by one."""
    parsed = CronSim(schedule.expression, _EPOCH)
    calendars = [
        ScheduleCalendarSpec(
            minute=_ranges(parsed.minutes),
            hour=_ranges(parsed.hours),
            day_of_month=_ranges(days),
            month=_ranges(parsed.months),
            day_of_week=_ranges(weekdays),
        )
        for days, weekdays in _days(parsed)
    ]
    # a moment is what comes every 50 years; not every 100, as Temporal passes over the first of all
    single = [
        ScheduleIntervalSpec(every=_VERY_LONG, offset=(moment - _EPOCH) % _VERY_LONG)
        for moment in _around_changes(schedule, now)
    ]
    return ScheduleSpec(calendars=calendars, intervals=single, time_zone_name=schedule.timezone)


def is_surplus(schedule: Schedule, moment: datetime) -> bool:
    """Whether Temporal fired at a moment by `spec_of` that is no time of the schedule.

    What is fired by hand, at some second, is not: it was asked for.
    """
    if moment.second or schedule.is_time(moment):
        return False
    _, _, day, _, weekday = schedule.expression.upper().split()
    near = schedule.clock_changes(moment - _NEAR, moment + _NEAR)
    return "L" in day + weekday or "#" in weekday or next(near, None) is not None


def catchup_window(schedule: Schedule, now: datetime) -> timedelta:
    """How late Temporal may fire after an outage of its own, so that it keeps the newest times: it drops others.

    Args:
        schedule: What is fired; which of the times start a run is decided later.
        now: From when on its times are counted.
    """
    if schedule.missed == "none":
        return GRACE
    first = last = schedule.after(now)
    for _ in range(MOST_MISSED - 1):
        if first is None or last is None or last - first >= MOST_CATCH_UP:
            return MOST_CATCH_UP
        last = schedule.after(last)
    return MOST_CATCH_UP if first is None or last is None else min(last - first, MOST_CATCH_UP)


def _around_changes(schedule: Schedule, now: datetime) -> Iterator[datetime]:
    zone = ZoneInfo(schedule.timezone)
    for change in schedule.clock_changes(now - _NEAR, now + HORIZON):
        before, after = ((change - past).astimezone(zone).utcoffset() or timedelta() for past in (_SECOND, timedelta()))
        period = max(abs(after - before), _HOUR)
        found = schedule.after(change - period - _SECOND)
        while found is not None and found <= change + period:
            yield found
            found = schedule.after(found)


def _days(parsed: CronSim) -> Iterator[tuple[Collection[int], Collection[int]]]:
    """Days of the month and of the week that a day must be among, one pair of which it must fit."""
    days = _DAYS & parsed.days | (_LAST_DAYS if parsed.days - _DAYS else frozenset())
    by_weekday = list(_weekdays(parsed))
    if parsed.day_and:
        yield from ((common, weekdays) for found, weekdays in by_weekday if (common := days & found))
    else:
        yield days, _WEEKDAYS
        yield from by_weekday


def _weekdays(parsed: CronSim) -> Iterator[tuple[frozenset[int], Collection[int]]]:
    plain = {item % 7 for item in parsed.weekdays if isinstance(item, int)}
    if plain:
        yield _DAYS, plain
    for item in parsed.weekdays:
        if not isinstance(item, int):
            weekday, which = item
            week = _LAST_WEEK if which == CronSim.LAST else _DAYS & frozenset(range(7 * which - 6, 7 * which + 1))
            yield week, {weekday % 7}


def _ranges(values: Collection[int]) -> list[ScheduleRange]:
    ranges: list[list[int]] = []
    for value in sorted(values):
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1][1] = value
        else:
            ranges.append([value, value])
    return [ScheduleRange(first, last) for first, last in ranges]


SCHEDULED_AT = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""For which time Temporal has started a workflow: an attribute that it sets itself."""

DECIDE = "decide-firing"
"""The activity that says whether a time fires."""

_DECISION = timedelta(seconds=15)
_SOON = timedelta(seconds=1)
_SPEC_VERSION = 1
_KNOWN_AHEAD = HORIZON / 2

_logger = logging.getLogger("gqlplugin.temporal")


@dataclass(kw_only=True)
class Timetable:
    """When a firing starts by itself: the argument of the workflow that starts its runs.

    Attributes:
        name: The name of the firing.
        cron, timezone, missed: As its `Schedule` has them.
        heartbeat_seconds: After which silence a process that runs its jobs counts as dead.
        until: Up to when Temporal was told how the clocks are set, ISO 8601.
        version: By which version of our rules.
    """

    name: str
    cron: str
    timezone: str
    missed: MissedPolicy
    heartbeat_seconds: float
    until: str
    version: int = _SPEC_VERSION

    @property
    def schedule(self) -> Schedule:
        """Its times."""
        return Schedule(self.cron, self.timezone, self.missed)

    def is_still(self, wanted: Timetable, now: datetime) -> bool:
        """Whether this is what is wanted, and will be for long enough."""
        if datetime.fromisoformat(self.until) < now + _KNOWN_AHEAD:
            return False
        return replace(self, until=wanted.until) == wanted


async def follow_schedules(
    client: Client, task_queue: str, definitions: Definitions, *, heartbeat_seconds: float, timeout: timedelta
) -> None:
    """Make the schedules of a task queue those of the definitions.

    New and changed ones fire from now on. Those that are as they were are left alone, and one that an operator has
    paused stays paused. Of processes with other definitions, the one that does this last decides.

    Args:
        client: Calls the service.
        task_queue: Of the app.
        definitions: The app.
        heartbeat_seconds: After which silence a process that runs jobs counts as dead.
        timeout: For a call to the service.

    Raises:
        DefinitionError: The service refuses a schedule.
        PlatformUnavailableError: It can't do it now.
    """
    now = datetime.now(UTC)
    for name, schedule in definitions.schedules.items():
        timetable = Timetable(
            name=name,
            cron=schedule.cron,
            timezone=schedule.timezone,
            missed=schedule.missed,
            heartbeat_seconds=heartbeat_seconds,
            until=(now + HORIZON).isoformat(),
        )
        try:
            await _follow(client, task_queue, timetable, now, timeout)
        except _RefusedError as error:
            raise DefinitionError(
                f"Temporal refuses the schedule of {name!r}, cron={schedule.cron!r}, timezone={schedule.timezone!r}: "
                f"{error}. Change it, or bring the service up to date."
            ) from error
    async with answering(timeout):
        listed = [one.id async for one in await client.list_schedules()]
    for schedule_id in listed:
        name = schedule_id.removeprefix(f"{task_queue}/")
        if name != schedule_id and _is_firing(name) and name not in definitions.schedules:
            await _delete(client, schedule_id, timeout)


class _RefusedError(Exception):
    """The service says that a schedule is none."""


async def _follow(client: Client, task_queue: str, wanted: Timetable, now: datetime, timeout: timedelta) -> None:
    """Create a schedule, or make it what is wanted, unless it is."""
    schedule_id = f"{task_queue}/{wanted.name}"
    handle = client.get_schedule_handle(schedule_id)
    try:
        async with answering(timeout):
            known = await handle.describe()
    except NotFoundError:
        made = await _made(task_queue, wanted, now)
        try:
            await _accepted(client.create_schedule(schedule_id, made), timeout)
        except ScheduleAlreadyRunningError:  # by another worker that starts now
            return
        _logger.info("The schedule %s was created", schedule_id)
        return
    if await _is_still(client, known.schedule, wanted, now):
        return
    made = await _made(task_queue, wanted, now)

    def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
        made.state = found.description.schedule.state
        return ScheduleUpdate(schedule=made)

    await _accepted(handle.update(updated), timeout)
    _logger.info("The schedule %s was changed", schedule_id)


async def _accepted(call: Awaitable[object], timeout: timedelta) -> None:
    async with answering(timeout):
        try:
            await call
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise _RefusedError(error.message) from error
            raise


async def _delete(client: Client, schedule_id: str, timeout: timedelta) -> None:
    try:
        async with answering(timeout):
            await client.get_schedule_handle(schedule_id).delete()
    except NotFoundError:  # by another worker that starts now
        return
    _logger.info("The schedule %s was deleted, as nothing has it any more", schedule_id)


async def _is_still(client: Client, known: TemporalSchedule, wanted: Timetable, now: datetime) -> bool:
    action = known.action
    if not isinstance(action, ScheduleActionStartWorkflow) or len(action.args) != 1:
        return False
    [timetable] = await client.data_converter.decode(action.args, [Timetable])
    return isinstance(timetable, Timetable) and timetable.is_still(wanted, now)


async def _made(task_queue: str, timetable: Timetable, now: datetime) -> TemporalSchedule:
    schedule = timetable.schedule
    # away from the event loop: a thousand times of a rare schedule are looked for through years
    spec = await asyncio.to_thread(spec_of, schedule, now)
    window = await asyncio.to_thread(catchup_window, schedule, now)
    return TemporalSchedule(
        action=ScheduleActionStartWorkflow(FIRE, timetable, id=f"{task_queue}/{timetable.name}", task_queue=task_queue),
        spec=spec,
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=window),
    )


def _is_firing(name: str) -> bool:
    executor = executor_of(name)
    return executor is not None and is_name(executor)


@workflow.defn(name=FIRE)
class Fire:
    """Starts the run of a time of a schedule, if it is to fire."""

    @workflow.run
    async def run(self, timetable: Timetable) -> str | None:
        """Start the run and return its ID; None when this time is not to fire."""
        info = workflow.info()
        moment = info.typed_search_attributes.get(SCHEDULED_AT) or info.workflow_start_time
        # local, so that it waits for no run that executes; tried again by timers, which another process may take
        new: NewRun | None = await workflow.execute_local_activity(
            DECIDE,
            args=[timetable, moment.isoformat()],
            result_type=NewRun | None,  # type: ignore[arg-type]  # a type to convert to, of any form
            start_to_close_timeout=_DECISION,
            local_retry_threshold=_SOON,
        )
        if new is None:
            return None
        await start_child(new)
        return new.run_id


class FireActivities:
    """What firing needs of the world: a clock, and definitions.

    Args:
        definitions: The app.

    Attributes:
        now: What the time is.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self.now: Callable[[], datetime] = partial(datetime.now, UTC)

    @property
    def activities(self) -> Sequence[Callable[..., Any]]:
        """For a worker."""
        return [self.decide]

    @activity.defn(name=DECIDE)
    async def decide(self, timetable: Timetable, scheduled_at: str) -> NewRun | None:
        """The run that a time starts, if it is to fire.

        A time that is none of the schedule's is one that somebody has triggered by hand.
        """
        moment = datetime.fromisoformat(scheduled_at)
        if not await asyncio.to_thread(fires, timetable.schedule, moment, self.now()):
            if not is_surplus(timetable.schedule, moment):
                _logger.warning(
                    "%r was missed at %s; missed=%r leaves it out", timetable.name, moment, timetable.missed
                )
            return None
        firing = self._definitions.firings.get(timetable.name)
        policy = None if firing is None else firing.concurrency_policy
        return new_run(
            timetable.name,
            scheduled_arg(moment),
            caller=executor_user(executor_of(timetable.name) or timetable.name),
            invoker=None,
            heartbeat_seconds=timetable.heartbeat_seconds,
            limit=None if policy is None else policy.max_concurrent_executions,
        )


def fires(schedule: Schedule, moment: datetime, now: datetime) -> bool:
    """Whether a run is started for a moment for which Temporal has fired a schedule.

    One that was missed is told from the others as the embedded platform does.
    """
    if is_surplus(schedule, moment):
        return False
    if not schedule.is_time(moment):
        return True
    return moment in schedule.due(moment, max(now, moment)).times  # the clock of the service may be ahead
