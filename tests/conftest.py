"""What every test shares."""

import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.temporal_server import temporal_address

__all__ = ["anyio_backend", "temporal_address"]

# an example may take as long as the machine needs for it
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """A process that is started where SIGINT is ignored, as by a shell in the background, would ignore it too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as strawberry and the platforms do."""
    return "asyncio"
