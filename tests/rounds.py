"""How often tests repeat what chance decides: a few times by default, as often as promised with TEST_ROUNDS=full.

`make test` takes the few, `make test-all` and CI the full number. Tests whose counts depend on it are marked `rounds`.
"""

import os
from typing import TypeVar

T = TypeVar("T")

ARE_FULL = os.environ.get("TEST_ROUNDS") == "full"


def rounds(full: T, *, few: T) -> T:
    """The number that this test session uses: `full` or `few`, whichever unit they are in."""
    return full if ARE_FULL else few
