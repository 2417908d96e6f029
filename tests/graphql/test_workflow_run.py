"""The jobs of a page of runs, which are read once for all of them."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from gqlplugin.graphql.run_types import JobsOfPage
from gqlplugin.testing import MemoryPlatform
from tests.abandoned import Failing, nothing_reported

pytestmark = pytest.mark.anyio


NOTHING_SELECTED = cast(
    strawberry.Info,
    SimpleNamespace(
        _raw_info=SimpleNamespace(field_nodes=[], fragments={}),
        schema=SimpleNamespace(config=StrawberryConfig()),
    ),
)


class FailingPlatform(MemoryPlatform):
    def __init__(self, failing: Failing) -> None:
        super().__init__()
        self.get_jobs = failing  # type: ignore[method-assign] # in the place of the method


async def test_a_read_that_fails_after_its_client_has_left_is_not_reported() -> None:
    """A query that was cancelled has nobody to be told."""
    failing = Failing()
    with nothing_reported():
        jobs = JobsOfPage(FailingPlatform(failing), ["1"], NOTHING_SELECTED)
        await failing.outlive(jobs.of("1"))
        del jobs


async def test_a_read_that_fails_fails_for_every_run() -> None:
    """Each of the runs is shown without its jobs, and with the error."""
    failing = Failing()
    jobs = JobsOfPage(FailingPlatform(failing), ["1", "2"], NOTHING_SELECTED)
    both = asyncio.gather(jobs.of("1"), jobs.of("2"), return_exceptions=True)
    await failing.began.wait()
    await failing.fail()
    assert list(map(type, await both)) == [ValueError] * 2
