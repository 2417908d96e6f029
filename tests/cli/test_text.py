"""Text for people, and JSON for programs: safe, and right."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from gqlplugin.cli.output import elapsed, json_value, local_time, parse_duration, safe, safe_json, safe_lines

NASTY = "a\x1b[2J\x9b31m\x00\x7f\u202e\u2066\u2028b\ud800"


def test_safe_text_has_nothing_a_terminal_acts_on() -> None:
    """Control characters of both ranges, direction marks, line separators and half surrogates are written out."""
    assert safe(NASTY) == r"a\x1b[2J\x9b31m\x00\x7f\u202e\u2066\u2028b\ud800"
    assert safe("one\ntwo\r") == r"one\ntwo\r"
    assert safe("Grüße, 日本語 👩‍👩‍👧 [bold]") == "Grüße, 日本語 👩‍👩‍👧 [bold]"
    assert safe_lines("a\tb\r\nc\x1b") == ["a   b", r"c\x1b"]


def test_safe_json_means_the_same() -> None:
    """JSON is escaped where a terminal could act on it, and is read as the same value."""
    text = json.dumps({NASTY: [NASTY, 1]}, indent=2, ensure_ascii=False)
    assert json.loads(safe_json(text)) == {NASTY: [NASTY, 1]}
    assert all(character >= " " or character == "\n" for character in safe_json(text))
    assert "\x9b" not in safe_json(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [("500ms", timedelta(milliseconds=500)), ("3s", timedelta(seconds=3)), ("5m", timedelta(minutes=5))],
)
def test_durations(text: str, duration: timedelta) -> None:
    """Milliseconds, seconds and minutes, as whole numbers."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "3", "s", "1.5s", "-1s", "1h", " 3s", "3s\n", "٣s", "0ms", f"{'9' * 30}m"])
def test_what_is_no_duration(text: str) -> None:
    """Everything else is refused, no length and endless ones too."""
    with pytest.raises(ValueError, match=r"duration|long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0312, "31ms"), (1.24, "1.2s"), (59.9, "59.9s"), (125, "2m 05s"), (7320, "2h 02m"), (-5, "0ms")],
)
def test_elapsed(seconds: float, shown: str) -> None:
    """Times are short, whatever their length."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    assert elapsed(began, began + timedelta(seconds=seconds)) == shown
    assert elapsed(None, None) == ""


def test_brief_times() -> None:
    """A brief time leaves out what is the same as now."""
    now = datetime.now(UTC)
    assert local_time(now, brief=True) == now.astimezone().strftime("%H:%M:%S")
    assert local_time(now - timedelta(days=800), brief=True).count("-") == 2
    assert local_time(None) == ""


@pytest.mark.parametrize(
    ("text", "value"), [('{"a": [1, null]}', {"a": [1, None]}), ("null", None), (None, None), ("not JSON", "not JSON")]
)
def test_json_values(text: str | None, value: object) -> None:
    """JSON text is shown as the value it is; what isn't JSON stays a text."""
    assert json_value(text) == value
