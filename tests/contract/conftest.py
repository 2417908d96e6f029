"""The platforms that must pass the suite.

A later platform joins by one entry in `CANDIDATES`. What it can't do at all it names in `lacks`: tests that carry
`@pytest.mark.needs("...")` with one of those words are then not collected for it. `CAPABILITIES` has the words in use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.testing import MemoryPlatform
from tests.contract.served import ServedPlatform

CAPABILITIES = {
    "attempts": "tell how often a run was tried",
    "batches": "start several runs in one transaction",
    "callers": "keep who started a run, tell the jobs, and list by it",
    "cancel": "end a run before its end",
    "counts": "count runs and jobs",
    "concurrency": "limit how many runs of a workflow execute at once",
    "depth": "tell how many workflows triggered each other down to a run",
    "errors": "tell the code and the message of a failure",
    "executors": "run the firings of executors",
    "given-ids": "give a run the ID that it is started with, and start it once",
    "idempotency": "answer the same request under the same key with the same run",
    "inputs": "tell what a run or a job was started with",
    "jobs-by-id": "find a job by its ID alone",
    "logs": "keep what jobs log",
    "progress": "keep what jobs say of their progress",
    "retry": "try a failed run again by itself",
    "turns": "let runs of a limited workflow execute in exactly the order they were started",
    "wait-points": "put a run away until somebody answers it",
}


@dataclass(frozen=True)
class Candidate:
    """A platform under test.

    Attributes:
        new: Makes one that shares nothing with any other, in an empty directory of its own.
        lacks: What it can't do, in the words of `CAPABILITIES`.
        marks: Of the tests of this platform.
    """

    new: Callable[[Path, pytest.FixtureRequest], Platform]
    lacks: frozenset[str] = frozenset()
    marks: Sequence[pytest.MarkDecorator] = ()


def _temporal(_: Path, request: pytest.FixtureRequest) -> Platform:
    from tests.contract.settled import SettledTemporalPlatform  # the SDK takes a moment to import

    address = request.getfixturevalue("temporal_address")
    return SettledTemporalPlatform(address, task_queue=f"contract-{uuid4()}", heartbeat_timeout=timedelta(seconds=15))


CANDIDATES = {
    "embedded": Candidate(lambda directory, _: EmbeddedPlatform(directory / "runs.sqlite")),
    "memory": Candidate(lambda *_: MemoryPlatform()),
    # to gqlplugin's own server nothing gets lost; the bare contract has no words for what is named here
    "tailor": Candidate(
        lambda directory, _: ServedPlatform(directory, extensions=True),
        marks=[pytest.mark.slow],
    ),
    "temporal": Candidate(
        _temporal,
        # the service counts workflows, of which a resumed run has several
        # those that wait get their turn in that order; which of two that start at once asks first is left to chance
        lacks=frozenset({"turns", "counts"}),
        marks=[pytest.mark.temporal],
    ),
    "tailor-bare": Candidate(
        lambda directory, _: ServedPlatform(directory, extensions=False),
        lacks=frozenset(
            {
                "attempts",
                "batches",
                "callers",
                "cancel",
                "depth",
                "errors",
                "executors",
                "given-ids",
                "idempotency",
                "inputs",
                "jobs-by-id",
                "progress",
                "wait-points",
            }
        ),
        marks=[pytest.mark.slow],
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "new_platform" in metafunc.fixturenames:
        needs = {word for mark in metafunc.definition.iter_markers("needs") for word in mark.args}
        assert needs <= CAPABILITIES.keys()
        able = [name for name, candidate in CANDIDATES.items() if not needs & candidate.lacks]
        parameters = [pytest.param(name, marks=CANDIDATES[name].marks) for name in able]
        metafunc.parametrize("new_platform", parameters, indirect=True)


@pytest.fixture
def new_platform(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Platform]:
    """Makes platforms, not entered yet, each independent of the others."""
    numbers = count()

    def make() -> Platform:
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        return CANDIDATES[request.param].new(directory, request)

    return make


@pytest.fixture
def platform(new_platform: Callable[[], Platform]) -> Platform:
    """A platform, not entered yet."""
    return new_platform()
