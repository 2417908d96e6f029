"""Text for people: from runs, which nobody vouches for, and of times and durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

# What a terminal may take as a command, what turns the direction of text, other line ends, and half surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DURATION = re.compile(r"(\d+)(ms|s|m)", re.ASCII)
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes"}


def safe(text: str) -> str:
    r"""A text on one line, with what a terminal could act on written as `\x1b` and the like."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def brief(text: str, most: int = 200) -> str:
    """The beginning of a text, on one line and safe."""
    return safe(text) if len(text) <= most else f"{safe(text[:most])}…"


def safe_lines(text: str) -> list[str]:
    """The lines of a text, each of them safe."""
    return [safe(line.expandtabs(4)) for line in text.splitlines()]


def safe_json(text: str) -> str:
    """JSON text whose strings hold nothing that a terminal could act on; it means the same.

    A line break or a tab between its values stays.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", text)


def parse_duration(text: str) -> timedelta:
    """The duration that a text such as `500ms`, `3s` or `5m` means (TAILOR.md section 3).

    Raises:
        ValueError: It means none, or one of no length, or one too long to be measured.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration: write a number with ms, s or m, such as 500ms, 3s or 5m")
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except (OverflowError, ValueError):
        raise ValueError(f"{text!r} is too long") from None
    if not duration:
        raise ValueError("it must be longer than 0")
    return duration


def elapsed(started: datetime | None, finished: datetime | None) -> str:
    """The time between start and end, or until now: `30ms`, `4.2s`, `2m 05s`, `3h 10m`."""
    if started is None:
        return ""
    seconds = max(((finished or datetime.now(UTC)) - started).total_seconds(), 0.0)
    if finished is not None and seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"


def local_time(moment: datetime | None, *, brief: bool = False) -> str:
    """A moment in the time zone of this machine.

    Args:
        moment: The moment.
        brief: Leave out the day of a time of today, and the year of a time of this year.
    """
    if moment is None:
        return ""
    local, now = moment.astimezone(), datetime.now(UTC).astimezone()
    if not brief or local.year != now.year:
        return local.strftime("%Y-%m-%d %H:%M:%S")
    return local.strftime("%H:%M:%S" if local.date() == now.date() else "%b %d %H:%M")
