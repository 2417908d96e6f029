"""What the tests of webhooks share."""

from collections.abc import AsyncIterator

import httpx
import pytest

from gqlplugin.testing import MemoryPlatform
from tests.webhooks.support import ENVIRONMENT, hooks


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SHOP_UNSET", raising=False)


@pytest.fixture
def platform() -> MemoryPlatform:
    """Where the runs of a test start."""
    return MemoryPlatform()


@pytest.fixture
async def http(platform: MemoryPlatform) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app; runs are started and not executed."""
    async with hooks(platform) as client:
        yield client
