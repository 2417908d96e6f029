"""A server for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.platform.tailor.server.support import Served, shop_server


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The shop on a platform in memory, served on loopback."""
    async with shop_server() as server:
        yield server
