"""Identifiers of runs and jobs."""

from __future__ import annotations

import os
import time
from datetime import datetime


def uuid7() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): it sorts by the millisecond it was made in."""
    return _format(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


def first_uuid7_of(moment: datetime) -> str:
    """The lowest UUID of version 7 that can be made from a moment on."""
    return _format(int(moment.timestamp() * 1000), 0)


def _format(milliseconds: int, random: int) -> str:
    low = 0b10 << 62 | random & (1 << 62) - 1
    text = f"{milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
