"""What the tests that work on system calls share."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.crash.system_calls import Lives, find_compiler


@pytest.fixture(scope="module")
def seed() -> int:
    """Set CRASH_SEED to repeat a test's choices; the moment a process dies at is never quite the same."""
    return int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(1 << 32))


@pytest.fixture(scope="module")
def dice(seed: int) -> random.Random:
    """The choices of a module."""
    print(f"CRASH_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return random.Random(seed)  # noqa: S311 - to be repeated, not secret


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """Processes whose system calls are counted, by a library that is compiled and preloaded."""
    compiler = find_compiler()
    if compiler is None:
        missing = "system calls are counted by a library that is compiled: needs Linux and cc"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    lives = Lives(compiler, tmp_path_factory.mktemp("library"))
    print(f"system calls are counted by a library that {compiler} compiled")  # noqa: T201 - as above
    yield lives
    lives.close()
