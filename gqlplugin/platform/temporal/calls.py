"""Calls to the Temporal service: how long they may take, and what their errors mean to a caller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    NotFoundError,
    PlatformCredentialsError,
    PlatformUnavailableError,
)

logger = logging.getLogger("gqlplugin.temporal")

_CREDENTIALS = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
_REFUSED = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.UNIMPLEMENTED)


@asynccontextmanager
async def answering(timeout: timedelta) -> AsyncIterator[None]:
    """Around calls to the service: their errors as gqlplugin's own, and an end to waiting.

    Raises:
        NotFoundError: The service does not know what was asked for.
        PlatformCredentialsError: It refuses the credentials.
        PlatformUnavailableError: It did not answer in time, or can't now.
    """
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            yield
    except TimeoutError as error:
        logger.warning("The Temporal service did not answer within %s seconds.", timeout.total_seconds())
        raise PlatformUnavailableError from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise PlatformUnavailableError from error
    except RPCError as error:
        raise _meaning_of(error) from error
    except RuntimeError as error:  # what a client raises that can't connect
        if "connect" not in str(error):
            raise
        if refuses_credentials(error):
            logger.error("The Temporal service refuses the credentials.")
            raise PlatformCredentialsError from error
        logger.warning("The Temporal service can't be reached.")
        raise PlatformUnavailableError from error


def refuses_credentials(error: RuntimeError) -> bool:
    """Whether a client can't connect because the service does not know it, which waiting does not mend."""
    return any(f"code: {code}" in str(error) for code in ("Unauthenticated", "PermissionDenied"))


def _meaning_of(error: RPCError) -> GqlpluginError:
    if error.status is RPCStatusCode.NOT_FOUND and "amespace" not in error.message:
        return NotFoundError("There is no such run.")
    if error.status in _CREDENTIALS:
        logger.error("The Temporal service refuses the credentials: %s", error.status.name)
        return PlatformCredentialsError()
    if error.status in _REFUSED or error.status is RPCStatusCode.NOT_FOUND:
        logger.error("The Temporal service refuses a call: %s: %s", error.status.name, error.message)
        return FailedPreconditionError("The workflow platform is not set up for this: see the log of the server.")
    logger.warning("The Temporal service can't answer: %s: %s", error.status.name, error.message)
    return PlatformUnavailableError()
