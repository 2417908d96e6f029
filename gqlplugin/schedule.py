"""When a schedule fires: cron expressions in a timezone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from typing import Literal, NamedTuple, Self, get_args
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from gqlplugin.checks import Source
from gqlplugin.errors import DefinitionError

MissedPolicy = Literal["last", "all", "none"]
"""Which of the times fire that passed while no process was there to fire them."""

GRACE = timedelta(seconds=60)
"""How late a time may fire without having been missed."""

MOST_MISSED = 1000
"""How many missed times fire at most: the newest."""

_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class _Field(NamedTuple):
    name: str
    values: str
    last: int
    period: str


_FIELDS = (
    _Field("minute", "0 to 59", 59, "hour"),
    _Field("hour", "0 to 23", 23, "day"),
    _Field("day of the month", "1 to 31, or L for the last one", 31, "month"),
    _Field("month", "1 to 12, or JAN to DEC", 12, "year"),
    _Field("day of the week", "0 to 7, or SUN to SAT", 7, "week"),
)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_A_MOMENT = datetime(2000, 1, 1)  # noqa: DTZ001 - a local time, in whatever zone


class DueTimes(NamedTuple):
    """What a schedule is to do now.

    Attributes:
        times: The times to fire, oldest first.
        passed_over: Whether there were others, which are not to fire.
        next_at: The first time after now; None when there is none any more.
    """

    times: Sequence[datetime]
    passed_over: bool
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression in a timezone. Every time it gives is in UTC.

    Attributes:
        cron: Five fields, or a name such as `@daily`.
        timezone: An IANA name.
        missed: Which missed times fire.
    """

    cron: str
    timezone: str
    missed: MissedPolicy

    @classmethod
    def parse(cls, cron: str, *, timezone: str, missed: MissedPolicy, source: Source) -> Self:
        """A schedule that is known to fire.

        Raises:
            DefinitionError: The expression is malformed or never comes true, or the timezone or the policy is unknown.
        """
        problem = (
            _not_text("cron", cron, "0 2 * * *")
            or _not_text("timezone", timezone, getattr(timezone, "key", "UTC"))  # a ZoneInfo has a key
            or _cron_problem(cron)
            or _timezone_problem(timezone)
            or _missed_problem(missed)
        )
        if problem is not None:
            raise DefinitionError(f"The schedule_trigger at {source} has {problem}")
        return cls(" ".join(cron.split()), timezone, missed)

    def after(self, moment: datetime) -> datetime | None:
        """The first time strictly after a moment.

        Across changes of daylight-saving time, an expression that names hours fires once per local time: in an hour
        that is repeated not again, in one that is skipped at its end, once for all that fall into it. One whose hours
        begin with `*` fires whenever a clock on the wall shows one of its times.

        Returns:
            None when there is none for 50 years, or the calendar ends.
        """
        moment = moment.astimezone(UTC)
        try:
            return self._after_on_wall(moment) if self._hours.startswith("*") else self._after_once(moment)
        except OverflowError:  # the year 10000
            return None

    def is_time(self, moment: datetime) -> bool:
        """Whether a moment is one of the times."""
        return self.after(moment - _SECOND) == moment

    def due(self, next_at: datetime, now: datetime) -> DueTimes:
        """What to do about the times from `next_at` on that have come, according to `missed`.

        A time is missed when it is more than a minute late, or when another one has come since.

        Args:
            next_at: The first time that was not dealt with yet.
            now: Until when, inclusive.
        """
        if next_at > now:
            return DueTimes((), passed_over=False, next_at=next_at)
        following = self.after(next_at)
        if following is None or following > now:
            return self._due([next_at], now, following)
        newest = self._newest(next_at, now)
        times = self._newest_of_all(next_at, newest) if self.missed == "all" else [newest]
        return self._due(times, now, self.after(now), passed_over=times[0] != next_at)

    def _due(
        self, times: list[datetime], now: datetime, next_at: datetime | None, *, passed_over: bool = False
    ) -> DueTimes:
        if self.missed == "none" and now - times[-1] > GRACE:
            return DueTimes((), passed_over=True, next_at=next_at)
        return DueTimes(times, passed_over, next_at)

    def _newest(self, oldest: datetime, now: datetime) -> datetime:
        """The last time that has come, given one that has: a bisection, as there may be millions."""
        low, high = oldest, now.replace(microsecond=0)
        while low < high:
            middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
            found = self.after(middle)
            if found is not None and found <= high:
                low = found
            else:
                high = middle
        return low

    def _newest_of_all(self, oldest: datetime, newest: datetime) -> list[datetime]:
        """As many of the times as may fire, looked for in ever longer periods before the newest."""
        period = timedelta(minutes=MOST_MISSED)
        while True:
            start = max(oldest - _SECOND, newest - period)
            times = list(self._between(start, newest))
            if len(times) >= MOST_MISSED or start < oldest:
                return times[-MOST_MISSED:]
            period *= 2

    def _between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        found = self.after(start)
        while found is not None and found <= end:
            yield found
            found = self.after(found)

    def clock_changes(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """When the clocks of its zone are set, after a moment and up to another, in whole seconds."""
        zone = _zone(self.timezone)
        change = _first_change(zone, start.astimezone(UTC).replace(microsecond=0), end)
        while change is not None:
            yield change
            change = _first_change(zone, change, end)

    @property
    def expression(self) -> str:
        """The five fields, also where it is given by a name."""
        return _NAMES.get(self.cron.lower(), self.cron)

    @property
    def _hours(self) -> str:
        return self.expression.split()[1]

    def _after_once(self, moment: datetime) -> datetime | None:
        """The first time, when each local time counts once. Local times have no zone here, so CronSim shifts none."""
        zone = _zone(self.timezone)
        for wall in CronSim(self.expression, moment.astimezone(zone).replace(tzinfo=None)):
            found = _first_at_or_after(wall, zone)
            if found > moment:
                return found
        return None

    def _after_on_wall(self, moment: datetime) -> datetime | None:
        """The first time that a clock on the wall shows, which is set at each change of the zone's offset."""
        zone = _zone(self.timezone)
        start = floor = moment.replace(microsecond=0)
        while True:
            offset = _offset(start, zone)
            wall = next(CronSim(self.expression, (floor + offset).replace(tzinfo=None)), None)
            if wall is None:
                return None
            found = (wall - offset).replace(tzinfo=UTC)
            change = _first_change(zone, start, found)
            if change is None:
                return found
            start, floor = change, change - _SECOND


def scheduled_arg(moment: datetime) -> str:
    """The arguments of a schedule's firing, as JSON text."""
    return f'{{"scheduled_time":"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}}'


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # there may be no other zone where the system has no zone data


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _first_at_or_after(wall: datetime, zone: tzinfo) -> datetime:
    """When a local time comes for the first time, or would have come, had it not been skipped."""
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    earlier = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _first_change(zone, earlier, found) or found


def _first_change(zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """The first moment after `start` and up to `end`, in whole seconds, from which on the zone has another offset."""
    offset = _offset(start, zone)
    low = start
    while True:
        if low >= end:
            return None
        high = min(low + _DAY, end)
        if _offset(high, zone) != offset:
            break
        low = high
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if _offset(middle, zone) == offset:
            low = middle
        else:
            high = middle
    return high


def _not_text(name: str, given: object, instead: str) -> str | None:
    return None if isinstance(given, str) else f'{name}={given!r}, which is not text: write "{instead}".'


def _cron_problem(cron: str) -> str | None:
    cron = " ".join(cron.split())
    given = f"cron={cron!r}"
    if cron.startswith("@"):
        known = ", ".join(_NAMES)
        return None if cron.lower() in _NAMES else f"{given}: there is no such name; use {known}, or five fields."
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        seconds = " Schedules have no seconds." if len(fields) > len(_FIELDS) else ""
        return (
            f"{given}, which has {len(fields)} fields: write five, minute hour day-of-month month day-of-week, such as "
            f'"0 2 * * *".{seconds}'
        )
    for index, text in enumerate(fields):
        field = _FIELDS[index]
        if _parsed(index, text) is None:
            return (
                f"{given}, whose {field.name} {text!r} is not valid: use {field.values}; lists (1,3), ranges (1-5) or "
                "steps (*/2)."
            )
        if (term := _overstepping(index, text)) is not None:
            return (
                f"{given}, whose {field.name} {text!r} has a step beyond its field in {term!r}: steps are counted from "
                f"the start of each {field.period}. Use a smaller step, at most {field.last}, or list the values (1,3)."
            )
    if not _comes_true(cron):
        return f"{given}, which never comes true: no date has such a day, month and day of the week. Write another day."
    return None


def _parsed(index: int, field: str) -> CronSim | None:
    """An expression with one of its fields given; None when that is malformed."""
    fields = ["*"] * len(_FIELDS)
    fields[index] = field
    try:
        return CronSim(" ".join(fields), _A_MOMENT)
    except (CronSimError, ValueError):  # a ValueError for a number of thousands of digits
        return None


def _overstepping(index: int, field: str) -> str | None:
    """A term of a field whose step is beyond the values that it steps through, such as `*/90` of the minutes.

    CronSim takes it for the first of the values.
    """
    for term in field.split(","):
        start, slash, step = term.partition("/")
        if slash and int(step) > _room(index, start):
            return term
    return None


def _room(index: int, start: str) -> int:
    """The largest step through what stands before the slash."""
    last = _FIELDS[index].last
    if start == "*":
        return last
    parsed = _parsed(index, start)
    assert parsed is not None  # noqa: S101 - it is part of a field that was parsed
    values = (parsed.minutes, parsed.hours, parsed.days, parsed.months, parsed.weekdays)[index]
    numbers = [value for value in values if isinstance(value, int)]
    first = min(numbers)
    if first < 0:  # L, the last day, which nothing comes after
        return 0
    return (max(numbers) if len(numbers) > 1 else last) - first


def _comes_true(cron: str) -> bool:
    try:
        return next(CronSim(cron, _A_MOMENT), None) is not None
    except CronSimError:  # a day that none of the months has
        return False


def _timezone_problem(name: str) -> str | None:
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = (
            f'use an IANA name, such as "{near[0] if near else "Europe/Berlin"}"'
            if known
            else "this system has no zone data; install the package tzdata"
        )
        return f"timezone={name!r}, which is not known: {hint}."
    return None


def _missed_problem(missed: str) -> str | None:
    known = get_args(MissedPolicy)
    return None if missed in known else f"missed={missed!r}, which is no policy: use {', '.join(map(repr, known))}."
