"""Calls to the Temporal service: time limits, errors, and the search attributes of runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    NotFoundError,
    PlatformCredentialsError,
    PlatformUnavailableError,
)
from gqlplugin.platform.temporal.messages import SEARCH_ATTRIBUTES

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


_Key = SearchAttributeKey[Any]

_NOT_OURS_TO_ASK = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)
_REFUSALS = (*_NOT_OURS_TO_ASK, RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION)
_USABLE_WITHIN = timedelta(seconds=90)  # a server reads which there are every minute, at most
_LOOK_EVERY = timedelta(milliseconds=200)


async def ensure_search_attributes(client: Client, timeout: timedelta) -> None:
    """Make the search attributes of runs that the namespace lacks, and wait until they can be used.

    Several processes may do so at once.

    Args:
        client: Of the namespace.
        timeout: For a call.

    Raises:
        FailedPreconditionError: One is missing and can't be made, or is there with another type; says what to do.
        PlatformUnavailableError: The service does not answer, or does not take to them.
    """
    async with answering(timeout):
        missing = await _missing(client)
    if missing:
        async with answering(timeout):
            await _add(client, missing)
    await _wait_until_usable(client, timeout)


async def _missing(client: Client) -> Sequence[_Key]:
    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), retry=True
        )
    except RPCError as error:
        if error.status not in _NOT_OURS_TO_ASK:
            raise
        return [key for key in SEARCH_ATTRIBUTES if not await _is_usable(client, [key])]
    types = known.custom_attributes
    _check_types(client, {name: types[name] for name in types})
    return [key for key in SEARCH_ATTRIBUTES if key.name not in types]


def _check_types(client: Client, types: dict[str, IndexedValueType.ValueType]) -> None:
    wrong = [key for key in SEARCH_ATTRIBUTES if types.get(key.name, _type_of(key)) != _type_of(key)]
    if wrong:
        raise FailedPreconditionError(
            f"Search attributes of namespace {client.namespace!r} have other types than gqlplugin's: "
            + ", ".join(f"{key.name} must be a {_type_name(key)}" for key in wrong)
            + ". Remove or rename them, or use another namespace."
        )


async def _add(client: Client, missing: Sequence[_Key]) -> None:
    request = AddSearchAttributesRequest(
        namespace=client.namespace, search_attributes={key.name: _type_of(key) for key in missing}
    )
    try:
        await client.operator_service.add_search_attributes(request, retry=True)
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return  # another process was quicker
        if error.status not in _REFUSALS:
            raise
        logger.error("The Temporal service makes no search attributes: %s: %s", error.status.name, error.message)
        raise FailedPreconditionError(_instruction(client, missing)) from error


async def _wait_until_usable(client: Client, timeout: timedelta) -> None:
    try:
        async with asyncio.timeout(_USABLE_WITHIN.total_seconds()):
            while True:
                async with answering(timeout):
                    if await _is_usable(client, SEARCH_ATTRIBUTES):
                        return
                await asyncio.sleep(_LOOK_EVERY.total_seconds())
    except TimeoutError:
        raise PlatformUnavailableError(
            f"The search attributes of namespace {client.namespace!r} were made, and can't be used yet: try again."
        ) from None


async def _is_usable(client: Client, keys: Iterable[_Key]) -> bool:
    """Whether a query may name them; of no workflow, so that it costs nothing."""
    query = " AND ".join(["WorkflowId = 'none'", *(f"{key.name} IS NULL" for key in keys)])
    try:
        await client.count_workflows(query)
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            return False
        raise
    return True


def _instruction(client: Client, missing: Iterable[_Key]) -> str:
    commands = (
        "temporal operator search-attribute create "
        f"--namespace {client.namespace} --name {key.name} --type {_type_name(key)}"
        for key in missing
    )
    heading = (
        f"Namespace {client.namespace!r} lacks search attributes, and does not let this process make them. "
        "Have them made, in Temporal Cloud in the namespace's settings, else by:"
    )
    return "\n".join([heading, *commands])


def _type_of(key: _Key) -> IndexedValueType.ValueType:
    return IndexedValueType.ValueType(key.indexed_value_type)


def _type_name(key: _Key) -> str:
    return key.indexed_value_type.name.title()
