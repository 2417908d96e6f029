"""Identifiers of runs."""

import time
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

from gqlplugin.platform.base import first_uuid7_of, uuid7


def test_a_run_id_is_a_uuid_of_version_7() -> None:
    """Version 7, the RFC's variant, canonical text, no two alike."""
    made = [uuid7() for _ in range(2000)]
    assert len(set(made)) == len(made)
    for text in made:
        assert str(UUID(text)) == text
        assert UUID(text).version == 7
        assert UUID(text).variant == RFC_4122


def test_a_run_id_begins_with_its_time() -> None:
    """The first 48 bits are the milliseconds since 1970 (RFC 9562, section 5.7)."""
    before = time.time_ns() // 1_000_000
    milliseconds = UUID(uuid7()).int >> 80
    assert before <= milliseconds <= time.time_ns() // 1_000_000


def test_run_ids_sort_by_time() -> None:
    """Of two IDs made a millisecond apart the earlier one sorts first, as text."""
    earlier = uuid7()
    made = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == made:
        pass
    assert earlier < uuid7()


def test_the_first_id_of_a_moment_divides_earlier_from_later() -> None:
    """IDs made before a moment sort below its first one, IDs made after it do not."""
    now = datetime.now(UTC)
    made = uuid7()
    assert first_uuid7_of(now - timedelta(seconds=1)) < made < first_uuid7_of(now + timedelta(seconds=1))
    assert UUID(first_uuid7_of(now)).version == 7
    assert first_uuid7_of(datetime(1970, 1, 1, tzinfo=UTC)) == "00000000-0000-7000-8000-000000000000"
