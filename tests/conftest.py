"""What every test shares."""

import pytest

from tests.temporal_server import temporal_address

__all__ = ["anyio_backend", "temporal_address"]


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as strawberry and the platforms do."""
    return "asyncio"
