"""Counts calls of functions: what something costs on every machine, where a clock would measure the machine as well."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest


@contextmanager
def at_most_calls(most: int) -> Iterator[None]:
    """Fails as soon as this thread has called more functions than that."""
    calls, before = 0, sys.getprofile()

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls > most:
            pytest.fail(f"more than {most} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
