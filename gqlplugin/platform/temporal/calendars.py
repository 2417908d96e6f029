"""Cron expressions as Temporal's calendars, which have other rules.

A day must be right for each of Temporal's fields, where cron asks for one of two; there are no last days of a month;
and when clocks are set, Temporal fires some times twice, an hour off, or not at all. So what is made here fires at
all the times of a schedule and perhaps at some others, which `is_surplus` tells from them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim
from temporalio.client import ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleRange, ScheduleSpec

from gqlplugin.schedule import GRACE, MOST_MISSED, Schedule

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
