"""One call for all who ask for the same at the same moment."""

import asyncio

import pytest

from gqlplugin.platform.tailor.exchange import Flights
from tests.abandoned import Failing, nothing_reported

pytestmark = pytest.mark.anyio


async def test_a_call_that_fails_after_all_have_left_is_not_reported() -> None:
    """Who asks next makes a call of their own."""
    failing, flights = Failing(), Flights[str]()
    with nothing_reported():
        await failing.outlive(flights.join("it", failing))
    assert await flights.join("it", lambda: asyncio.sleep(0, "found")) == "found"
