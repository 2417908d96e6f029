"""Cron expressions in timezones: what is refused, and when the others fire."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlplugin.checks import Source
from gqlplugin.errors import DefinitionError
from gqlplugin.executor import schedule_trigger
from gqlplugin.schedule import MOST_MISSED, MissedPolicy, Schedule, scheduled_arg
from tests.calls import at_most_calls

SOURCE = Source("app.py", 3)


def parse(cron: str, timezone: str = "UTC", missed: MissedPolicy = "last") -> Schedule:
    """A schedule."""
    return Schedule.parse(cron, timezone=timezone, missed=missed, source=SOURCE)


def utc(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def between(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    """Every time after a moment, up to another."""
    times: list[datetime] = []
    found = schedule.after(start)
    while found is not None and found <= end:
        times.append(found)
        found = schedule.after(found)
    return times


def on_wall(schedule: Schedule, start: str, end: str) -> list[str]:
    """The times between two local times, as a clock on the wall shows them, with the zone's offset in hours."""
    zone = ZoneInfo(schedule.timezone)
    first, last = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in (start, end))
    shown = [moment.astimezone(zone) for moment in between(schedule, first - timedelta(seconds=1), last)]
    return [re.sub(r"(\+|-)0(\d)$", r"\1\2", f"{one:%H:%M}{f'{one:%z}'[:3]}") for one in shown]


# What is refused.


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("", ["0 fields", "five", '"0 2 * * *"']),
        ("0 2 * *", ["4 fields", "five"]),
        ("*/5 * * * * *", ["6 fields", "five", "no seconds"]),
        ("60 * * * *", ["minute '60'", "0 to 59"]),
        ("0 24 * * *", ["hour '24'", "0 to 23"]),
        ("0 0 0 * *", ["day of the month '0'", "1 to 31"]),
        ("0 0 1 13 *", ["month '13'", "1 to 12"]),
        ("0 0 * * 8", ["day of the week '8'", "0 to 7"]),
        ("5-1 * * * FUNDAY", ["minute '5-1'"]),
        ("*/0 * * * *", ["minute '*/0'"]),
        ("0 0 1 1 " + "1" * 5000, ["day of the week"]),
        ("@reboot", ["no such name", "@hourly"]),
        ("0 0 30 2 *", ["never comes true"]),
        ("0 0 31 2,4,6 *", ["never comes true"]),
        ("0 0 */31 2 MON#5", ["never comes true"]),
    ],
)
def test_an_expression_that_can_not_fire_is_refused(cron: str, words: list[str]) -> None:
    """A malformed expression, or one that never comes true, is refused at once, with what to write and where it is."""
    with pytest.raises(DefinitionError) as caught, at_most_calls(50_000):
        parse(cron)
    for word in (*words, f"cron={cron!r}", "app.py:3"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("*/90 * * * *", ["minute '*/90'", "each hour", "at most 59"]),
        ("*/60 * * * *", ["minute '*/60'"]),
        ("0 */24 * * *", ["hour '*/24'", "each day", "at most 23"]),
        ("0 0 */32 * *", ["day of the month '*/32'", "each month", "at most 31"]),
        ("0 0 1 */13 *", ["month '*/13'", "each year", "at most 12"]),
        ("0 0 * * */8", ["day of the week '*/8'", "each week", "at most 7"]),
        ("10-20/11 * * * *", ["minute '10-20/11'", "beyond its field in '10-20/11'"]),
        ("0 0,*/30 * * *", ["hour '0,*/30'", "beyond its field in '*/30'"]),
        ("50/10 * * * *", ["minute '50/10'"]),
        ("0 0 * * mon-fri/5", ["day of the week 'mon-fri/5'"]),
        ("0 0 1 OCT-DEC/3 *", ["month 'OCT-DEC/3'"]),
        ("0 0 L/2 * *", ["day of the month 'L/2'"]),
        ("*/" + "9" * 4000 + " * * * *", ["beyond its field"]),
    ],
)  # fmt: skip
def test_a_step_beyond_its_field_is_refused(cron: str, words: list[str]) -> None:
    """A step that reaches no second value would fire with another period than it reads."""
    with pytest.raises(DefinitionError) as caught:
        parse(cron)
    for word in (*words, f"cron={cron!r}", "app.py:3"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "cron",
    ["*/59 * * * *", "10-20/10 * * * *", "50/9 * * * *", "0 */23 * * *", "0 0 */31 * *", "0 0 1 */12 *", "0 0 * * */7",
     "0 0 * * MON-FRI/2", "0 0 1 JAN-OCT/3,DEC *"],
)  # fmt: skip
def test_a_step_within_its_field_is_taken(cron: str) -> None:
    """The largest step is the last value of the field, and of a range its length."""
    assert parse(cron).after(datetime(2024, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cron": 5}, ["cron=5", "not text", '"0 2 * * *"']),
        ({"cron": None}, ["cron=None", "not text"]),
        ({"timezone": None}, ["timezone=None", "not text", 'write "UTC"']),
        ({"timezone": ZoneInfo("Europe/Berlin")}, ["not text", 'write "Europe/Berlin"']),
        ({"missed": None}, ["missed=None", "'last', 'all', 'none'"]),
    ],
)
def test_what_is_not_text_is_refused(given: dict[str, Any], words: list[str]) -> None:
    """An argument of another type is refused with what to write instead."""
    with pytest.raises(DefinitionError) as caught:
        schedule_trigger(**{"cron": "@daily", **given})
    for word in (*words, __file__):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Europe/Berln", "", "America", "/etc/passwd", "../UTC", "a\0b", "\udc80", "Moon/Base"]
)
def test_an_unknown_timezone_is_refused(name: str) -> None:
    """A timezone that is none is refused, whatever it looks like."""
    with pytest.raises(DefinitionError, match="not known: use an IANA name") as caught:
        parse("@daily", name)
    assert f"timezone={name!r}" in str(caught.value)
    assert "app.py:3" in str(caught.value)


def test_the_timezone_that_was_meant_is_named() -> None:
    """Close to a known name, the error names that one."""
    with pytest.raises(DefinitionError, match="Europe/Berlin"):
        parse("@daily", "Europe/Berln")


def test_an_unknown_policy_is_refused() -> None:
    """A policy for missed times that is none is refused with those there are."""
    with pytest.raises(DefinitionError, match=r"missed='some'.*'last', 'all', 'none'"):
        parse("@daily", missed="some")  # type: ignore[arg-type]  # what a type checker would refuse


def test_the_trigger_names_the_line_it_is_made_on() -> None:
    """An error of `schedule_trigger` points to the user's own line."""
    with pytest.raises(DefinitionError, match=re.escape(__file__)):
        schedule_trigger("0 0 30 2 *")


def test_spaces_do_not_matter() -> None:
    """Expressions that differ in their spaces are the same schedule."""
    assert parse("  0  2 * *\t* ") == parse("0 2 * * *")


# When the others fire.


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("@hourly", "2026-11-22T05:00"),
        ("@daily", "2026-11-23T00:00"),
        ("@Midnight", "2026-11-23T00:00"),
        ("@weekly", "2026-11-29T00:00"),
        ("@monthly", "2026-12-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("*/20 4 * * *", "2026-11-22T04:20"),
        ("0 9 * * MON-FRI", "2026-11-23T09:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 12 L * *", "2026-11-30T12:00"),
        ("0 0 13 * FRI", "2026-11-27T00:00"),
    ],
)
def test_the_next_time(cron: str, expected: str) -> None:
    """Names and expressions fire next when crontab(5) says."""
    assert parse(cron).after(utc("2026-11-22T04:00:30.5")) == utc(expected)


def test_a_time_is_not_after_itself() -> None:
    """The first time after a time is the following one; a moment before it, it is the time itself."""
    schedule = parse("*/5 * * * *")
    assert schedule.after(utc("2026-11-22T04:05")) == utc("2026-11-22T04:10")
    assert schedule.after(utc("2026-11-22T04:05") - timedelta(microseconds=1)) == utc("2026-11-22T04:05")
    assert schedule.is_time(utc("2026-11-22T04:05"))
    assert not schedule.is_time(utc("2026-11-22T04:06"))


def test_the_calendar_ends() -> None:
    """At the end of the year 9999 there is no next time, and no error."""
    for cron in ("* * * * *", "0 0 * * *"):
        assert parse(cron, "America/New_York").after(utc("9999-12-31T23:59:30")) is None


def test_the_argument_is_the_time() -> None:
    """What a firing gets is its time in UTC, whatever zone it came in."""
    moment = datetime(2026, 11, 22, 3, tzinfo=ZoneInfo("Europe/Berlin"))
    assert scheduled_arg(moment) == '{"scheduled_time":"2026-11-22T02:00:00Z"}'
    assert schedule_trigger("@daily").read(scheduled_arg(moment)).scheduled_time == moment


CHANGES = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "America/Santiago": ["2026-04-05", "2026-09-06"],
    "Asia/Beirut": ["2026-03-29", "2026-10-25"],
    "UTC": ["2026-06-01"],
}
ZONES = list(CHANGES)


SPRING_AND_AUTUMN = [
    # skipped: 02:00 to 03:00; repeated: 02:00 to 03:00
    ("30 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+2"]),
    ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["02:30+2"]),
    ("*/15 2 * * *", "Europe/Berlin", "2026-03-29", ["03:00+2"]),
    ("*/15 2 * * *", "Europe/Berlin", "2026-10-25", ["02:00+2", "02:15+2", "02:30+2", "02:45+2"]),
    ("0,30 1-3 * * *", "Europe/Berlin", "2026-03-29", ["01:00+1", "01:30+1", "03:00+2", "03:30+2"]),
    ("0 1-3 * * *", "Europe/Berlin", "2026-10-25", ["01:00+2", "02:00+2", "03:00+1"]),
    ("0 0 * * *", "Europe/Berlin", "2026-03-29", ["00:00+1"]),
    ("30 * * * *", "Europe/Berlin", "2026-03-29", ["00:30+1", "01:30+1", "03:30+2", "04:30+2"]),
    ("30 * * * *", "Europe/Berlin", "2026-10-25", ["00:30+2", "01:30+2", "02:30+2", "02:30+1", "03:30+1", "04:30+1"]),
    ("0 */2 * * *", "Europe/Berlin", "2026-03-29", ["00:00+1", "04:00+2"]),
    ("0 */2 * * *", "Europe/Berlin", "2026-10-25", ["00:00+2", "02:00+2", "02:00+1", "04:00+1"]),
    # skipped: 02:00 to 03:00; repeated: 01:00 to 02:00
    ("30 2 * * *", "America/New_York", "2026-03-08", ["03:00-4"]),
    ("*/15 1 * * *", "America/New_York", "2026-11-01", ["01:00-4", "01:15-4", "01:30-4", "01:45-4"]),
    ("*/30 * * * *", "America/New_York", "2026-03-08", [
        "00:00-5", "00:30-5", "01:00-5", "01:30-5", "03:00-4", "03:30-4", "04:00-4", "04:30-4",
    ]),
    ("*/30 * * * *", "America/New_York", "2026-11-01", [
        "00:00-4", "00:30-4", "01:00-4", "01:30-4", "01:00-5", "01:30-5", "02:00-5", "02:30-5", "03:00-5", "03:30-5",
        "04:00-5", "04:30-5",
    ]),
    # half an hour: skipped 02:00 to 02:30; repeated 01:30 to 02:00
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["02:30+11"]),
    ("45 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["02:45+11"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05", ["01:45+11"]),
    ("15,45 1 * * *", "Australia/Lord_Howe", "2026-04-05", ["01:15+11", "01:45+11"]),
    ("45 * * * *", "Australia/Lord_Howe", "2026-04-05", [
        "00:45+11", "01:45+11", "01:45+10", "02:45+10", "03:45+10", "04:45+10",
    ]),
    # midnight itself is skipped: 00:00 to 01:00
    ("0 0 * * *", "America/Santiago", "2026-09-06", ["01:00-3"]),
    ("*/20 0 * * *", "America/Santiago", "2026-09-06", ["01:00-3"]),
    ("0 0 6 9 *", "America/Santiago", "2026-09-06", ["01:00-3"]),
    ("0 * 6 9 *", "America/Santiago", "2026-09-06", ["01:00-3", "02:00-3", "03:00-3", "04:00-3"]),
    ("@daily", "Asia/Beirut", "2026-03-29", ["01:00+3"]),
    ("@hourly", "Asia/Beirut", "2026-03-29", ["01:00+3", "02:00+3", "03:00+3", "04:00+3"]),
]  # fmt: skip


@pytest.mark.parametrize(("cron", "timezone", "day", "expected"), SPRING_AND_AUTUMN)
def test_changes_of_daylight_saving_time(cron: str, timezone: str, day: str, expected: list[str]) -> None:
    """Named hours fire once per local time, skipped ones once at the end of the gap; `*` hours follow the clock."""
    assert on_wall(parse(cron, timezone), f"{day}T00:00", f"{day}T04:59") == expected


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Beirut"])
def test_an_hourly_schedule_keeps_its_pace(timezone: str) -> None:
    """In real time an hour is an hour, also in the nights in which the clock is changed."""
    for day in CHANGES[timezone]:
        middle = utc(f"{day}T00:00")
        times = between(parse("@hourly", timezone), middle - timedelta(days=2), middle + timedelta(days=2))
        assert len(times) == 96
        assert {second - first for first, second in pairwise(times)} == {timedelta(hours=1)}


def test_midnight_is_repeated() -> None:
    """Where the hour before midnight is repeated, the day that ends twice still has one of each named time."""
    schedule = parse("30 23 * * *", "America/Santiago")
    assert on_wall(schedule, "2026-04-04T12:00", "2026-04-05T12:00") == ["23:30-3"]
    assert len(between(parse("@daily", "America/Santiago"), utc("2026-04-01T00:00"), utc("2026-04-11T00:00"))) == 10


@st.composite
def fields(draw: st.DrawFn, first: int, last: int) -> tuple[str, set[int]]:
    """A field of an expression, and what it stands for."""
    step = draw(st.integers(1, min(30, last)))
    values = draw(st.sets(st.integers(first, last), min_size=1, max_size=3))
    return draw(
        st.sampled_from(
            [
                ("*", set(range(first, last + 1))),
                (f"*/{step}", set(range(first, last + 1, step))),
                (f"{min(values)}-{max(values)}", set(range(min(values), max(values) + 1))),
                (",".join(map(str, values)), values),
            ]
        )
    )


def by_the_rule(minutes: set[int], hours: set[int], *, once: bool, zone: ZoneInfo, start: datetime) -> list[datetime]:
    """The times of a day, minute by minute: a second, slow reading of the rule."""
    times = []
    seen: set[tuple[int, int, int]] = set()
    before = (start - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None)
    for index in range(24 * 60):
        moment = start + timedelta(minutes=index)
        wall = moment.astimezone(zone).replace(tzinfo=None)
        passed = [wall]
        if once and wall - before > timedelta(minutes=1):  # a gap: all that it skipped comes now
            gap = (wall - before) // timedelta(minutes=1)
            passed += [before + timedelta(minutes=one) for one in range(1, gap)]
        matches = {(one.day, one.hour, one.minute) for one in passed if one.hour in hours and one.minute in minutes}
        if matches - seen if once else matches:
            times.append(moment)
        seen |= matches
        before = wall
    return times


@settings(max_examples=60)
@given(fields(0, 59), fields(0, 23), st.sampled_from([(zone, day) for zone in CHANGES for day in CHANGES[zone]]))
def test_every_expression_follows_the_rule(
    minute: tuple[str, set[int]], hour: tuple[str, set[int]], night: tuple[str, str]
) -> None:
    """Around every change of the clock, any expression fires when a reading minute by minute says."""
    timezone, day = night
    schedule = parse(f"{minute[0]} {hour[0]} * * *", timezone)
    start = utc(f"{day}T12:00") - timedelta(days=1)
    end = start + timedelta(days=1, minutes=-1)
    expected = by_the_rule(minute[1], hour[1], once=not hour[0].startswith("*"), zone=ZoneInfo(timezone), start=start)
    assert between(schedule, start - timedelta(seconds=1), end) == expected


@settings(max_examples=100)
@given(
    st.sampled_from(["* * * * *", "*/7 1-3 * * *", "30 2 * * *", "0 */5 * * *", "0 0 29 2 *", "15 0 * * SUN"]),
    st.sampled_from(ZONES),
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - see timezones
)
def test_times_only_increase(cron: str, timezone: str, moment: datetime) -> None:
    """Each time is later than the moment it follows, in UTC, and there is none in between."""
    schedule = parse(cron, timezone)
    found = schedule.after(moment)
    assert found is not None
    assert found > moment
    assert found.tzinfo is UTC
    assert schedule.after(found - timedelta(microseconds=1)) == found
    assert schedule.after(moment + (found - moment) / 2) == found


# What is done about missed times.

EVERY_MINUTE = "* * * * *"
NOON = utc("2026-11-22T12:00")


@pytest.mark.parametrize("missed", ["last", "all", "none"])
def test_nothing_is_due_before_its_time(missed: MissedPolicy) -> None:
    """A moment before the time nothing fires, and the time stays the next one."""
    before = NOON - timedelta(microseconds=1)
    assert parse("@hourly", missed=missed).due(NOON, before) == ((), False, NOON)


@pytest.mark.parametrize("missed", ["last", "all", "none"])
@pytest.mark.parametrize("late", [0, 1, 60])
def test_a_time_that_is_at_most_a_minute_late_was_not_missed(missed: MissedPolicy, late: int) -> None:
    """Up to a minute late every policy fires it."""
    due = parse("@hourly", missed=missed).due(NOON, NOON + timedelta(seconds=late))
    assert due == ([NOON], False, utc("2026-11-22T13:00"))


@pytest.mark.parametrize(("missed", "fired"), [("last", 1), ("all", 1), ("none", 0)])
def test_one_missed_time(missed: MissedPolicy, fired: int) -> None:
    """A time that is more than a minute late fires, but for `none`."""
    due = parse("@hourly", missed=missed).due(NOON, NOON + timedelta(seconds=61))
    assert due == ([NOON][:fired] or (), not fired, utc("2026-11-22T13:00"))


@pytest.mark.parametrize(
    ("missed", "expected"),
    [("last", ["14:00"]), ("all", ["12:00", "13:00", "14:00"]), ("none", [])],
)
def test_several_missed_times(missed: MissedPolicy, expected: list[str]) -> None:
    """Of three missed times the last one fires, or all of them in order, or none."""
    due = parse("@hourly", missed=missed).due(NOON, utc("2026-11-22T14:30"))
    assert [f"{moment:%H:%M}" for moment in due.times] == expected
    assert due.passed_over is (missed != "all")
    assert due.next_at == utc("2026-11-22T15:00")


def test_none_still_fires_what_is_due_now() -> None:
    """After downtime, `none` fires a time that has come just now."""
    due = parse("@hourly", missed="none").due(NOON, utc("2026-11-22T15:00:40"))
    assert due == ([utc("2026-11-22T15:00")], True, utc("2026-11-22T16:00"))


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("cron", "missed", "fired", "last"),
    [
        (EVERY_MINUTE, "last", 1, "2036-11-22T12:00"),
        (EVERY_MINUTE, "none", 1, "2036-11-22T12:00"),
        (EVERY_MINUTE, "all", MOST_MISSED, "2036-11-22T12:00"),
        ("0 2 * * *", "all", MOST_MISSED, None),
        ("* * * 1 *", "last", 1, None),
        ("* * * 1 *", "all", MOST_MISSED, None),
        ("0 0 29 2 *", "all", 3, None),
        ("@monthly", "all", 120, None),
    ],
)
def test_ten_years_of_downtime_take_no_time(
    cron: str, missed: MissedPolicy, fired: int, last: str | None, timezone: str
) -> None:
    """After ten years the newest times are found at once; what fires is bounded, whatever was missed."""
    schedule = parse(cron, timezone, missed)
    next_at = schedule.after(NOON)
    assert next_at is not None
    now = utc("2036-11-22T12:00:30")
    with at_most_calls(1_000_000 if missed == "all" else 100_000):
        due = schedule.due(next_at, now)
    assert len(due.times) == fired
    assert last is None or due.times[-1] == utc(last)
    assert due.next_at is not None
    assert due.next_at > now


@settings(max_examples=60)
@given(
    st.sampled_from([EVERY_MINUTE, "*/20 1-2 * * *", "30 2 * * *", "0 */6 * * *", "0 0 1 * *", "*/10 0 * * SUN"]),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - see timezones
    st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_policies_agree_with_a_list_of_the_times(cron: str, timezone: str, start: datetime, length: timedelta) -> None:
    """What each policy fires is what it would pick from the list of all times that have come."""
    first = parse(cron, timezone).after(start)
    assert first is not None
    now = first + length
    came = between(parse(cron, timezone), first - timedelta(seconds=1), now)
    newest = came[-1]
    assert list(parse(cron, timezone, "last").due(first, now).times) == [newest]
    assert list(parse(cron, timezone, "all").due(first, now).times) == came[-MOST_MISSED:]
    on_time = [newest] if now - newest <= timedelta(seconds=60) else []
    assert list(parse(cron, timezone, "none").due(first, now).times) == on_time
