"""Identifiers of runs and jobs."""

from __future__ import annotations

import os
import time
from datetime import datetime
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f0b1d0e-5c0f-5d0b-9a53-0d4c6c1b7e21")


def uuid7() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): it sorts by the millisecond it was made in."""
    return _format(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


def is_uuid7(text: str) -> bool:
    """Whether this is how `uuid7` writes one."""
    try:
        parsed = UUID(text)
    except ValueError:
        return False
    return parsed.version == 7 and str(parsed) == text


def first_uuid7_of(moment: datetime) -> str:
    """The lowest UUID of version 7 that can be made from a moment on."""
    return _format(int(moment.timestamp() * 1000), 0)


def id_of_names(kind: str, owner: str, name: str) -> str:
    """A UUID that follows from what it is of, so that it need not be kept."""
    return str(uuid5(_NAMESPACE, f"{kind}/{owner}/{name}"))  # owner and kind hold no slash, so no two read the same


def machine_user_id(namespace: str, name: str) -> str:
    """The ID of a machine user, as whoever looks sees it."""
    return id_of_names("machine-user", namespace, name)


def _format(milliseconds: int, random: int) -> str:
    low = 0b10 << 62 | random & (1 << 62) - 1
    text = f"{milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
