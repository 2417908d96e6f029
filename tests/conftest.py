"""What every test shares: markers by what a test needs, and what is printed about the tests that were left out."""

import gc
import os
import re
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

from tests.rounds import ARE_FULL

gc.disable()  # until all is collected: what is imported stays, and looking through it takes a fifth of the time

# an example may take as long as the machine needs for it
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

TOGETHER = ("tests/browser/", "tests/clients/", "tests/crash/")
"""Folders of modules whose tests share what takes long to make: one worker of pytest-xdist takes a whole module."""

FIXTURE_MARKERS = {"temporal_address": "temporal", "postgres": "postgres", "browser": "browser"}
"""The marker that a test gets for a fixture it uses."""


def _left_out(config: pytest.Config) -> list[str]:
    """The markers that `-m` leaves out, if it is of the form `not (a or b)`."""
    found = re.fullmatch(r"not \((\w+(?: or \w+)*)\)", config.option.markexpr)
    return found[1].split(" or ") if found else []


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Don't import `browser` and `clients` when they are left out: `make test` doesn't install what they import."""
    is_left_out = collection_path.parent == Path(__file__).parent and collection_path.name in _left_out(config)
    return True if is_left_out else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in FIXTURE_MARKERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(FIXTURE_MARKERS[fixture])


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers per core, as tests wait half of their time; none for a few tests, as each collects everything."""
    return 0 if config.option.keyword else 2 * (os.cpu_count() or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Send single tests to the workers, but whole modules of `TOGETHER`.

    This is what `--dist loadgroup` is for, which has no effect with pytest 9.2.
    """
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: nodeid.partition("::")[0] if nodeid.startswith(TOGETHER) else nodeid
    return scheduler


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what no encoding has, such as half a surrogate pair in a log: workers send their reports as UTF-8."""
    report = yield
    report.sections = [
        (title, content.encode(errors="backslashreplace").decode()) for title, content in report.sections
    ]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := _left_out(config):
        few = "" if ARE_FULL else "; the crash and fault tests did a few of their rounds"
        terminalreporter.write_line(
            f"Left for `make test-all`, which takes about 10 minutes on 2 cores: {', '.join(left_out)}{few}."
        )


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """A process that is started where SIGINT is ignored, as by a shell in the background, would ignore it too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as strawberry and the platforms do."""
    return "asyncio"


@pytest.fixture(scope="session")
def temporal_address() -> Iterator[str]:
    """The address of the Temporal server of a test session; it is started by the first test that asks."""
    from tests.temporal_server import TemporalServer  # the SDK takes a moment to import

    with TemporalServer() as server:
        yield server.address
