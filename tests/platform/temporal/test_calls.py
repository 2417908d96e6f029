"""What the errors of the Temporal service mean to a caller."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.service import RPCError, RPCStatusCode

from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    NotFoundError,
    PlatformCredentialsError,
    PlatformUnavailableError,
)
from gqlplugin.platform.temporal.client import answering

pytestmark = pytest.mark.anyio

LONG = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("status", "message", "meaning"),
    [
        (RPCStatusCode.UNAVAILABLE, "connection refused", PlatformUnavailableError),
        (RPCStatusCode.DEADLINE_EXCEEDED, "too late", PlatformUnavailableError),
        (RPCStatusCode.RESOURCE_EXHAUSTED, "too many", PlatformUnavailableError),
        (RPCStatusCode.CANCELLED, "gone", PlatformUnavailableError),
        (RPCStatusCode.INTERNAL, "broken", PlatformUnavailableError),
        (RPCStatusCode.NOT_FOUND, "workflow not found for ID: x", NotFoundError),
        (RPCStatusCode.NOT_FOUND, "Namespace shop is not found.", FailedPreconditionError),
        (RPCStatusCode.INVALID_ARGUMENT, "no mapping defined for search attribute X", FailedPreconditionError),
        (RPCStatusCode.PERMISSION_DENIED, "no", PlatformCredentialsError),
        (RPCStatusCode.UNAUTHENTICATED, "who?", PlatformCredentialsError),
    ],
)
async def test_each_status_has_a_meaning(status: RPCStatusCode, message: str, meaning: type[GqlpluginError]) -> None:
    """What may pass is PLATFORM_UNAVAILABLE, and nothing of the service's words is in what a caller is told."""
    with pytest.raises(meaning) as caught:
        async with answering(LONG):
            raise RPCError(message, status, b"")
    assert type(caught.value) is meaning
    assert message not in str(caught.value)


async def test_waiting_has_an_end() -> None:
    """A call that is not answered in time is PLATFORM_UNAVAILABLE."""
    with pytest.raises(PlatformUnavailableError):
        async with answering(timedelta(milliseconds=1)):
            await asyncio.Event().wait()


async def test_other_errors_are_their_own() -> None:
    """What has nothing to do with the service is not taken for it."""
    with pytest.raises(RuntimeError, match="something else"):
        async with answering(LONG):
            raise RuntimeError("something else")
    with pytest.raises(asyncio.CancelledError):
        async with answering(LONG):
            raise asyncio.CancelledError
