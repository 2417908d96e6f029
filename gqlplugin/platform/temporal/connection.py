"""An open connection to the Temporal service: what `TemporalPlatform` has between its first entry and its last exit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import TLSConfig

from gqlplugin.errors import PlatformCredentialsError
from gqlplugin.platform.temporal.calls import answering, refuses_credentials
from gqlplugin.platform.temporal.describing import Describing
from gqlplugin.platform.temporal.history import History
from gqlplugin.platform.temporal.listing import Listing
from gqlplugin.platform.temporal.starts import Limits, Starts
from gqlplugin.platform.temporal.steering import Steering
from gqlplugin.platform.temporal.waiting import Waiting
from gqlplugin.platform.watch import Watches

_logger = logging.getLogger("gqlplugin.temporal")

_POLL = timedelta(milliseconds=100)
_LONGEST_POLL = timedelta(seconds=1)
_LONGEST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was given to `TemporalPlatform`."""

    address: str
    namespace: str
    task_queue: str
    tls: bool | TLSConfig
    api_key: SecretStr | None
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What works while the platform is entered."""

    client: Client
    starts: Starts
    runs: Describing
    history: History
    waiting: Waiting
    listing: Listing
    steering: Steering
    watches: Watches


async def connection(
    options: Options, *, check_name: Callable[[str], None], limit_of: Callable[[str], int | None]
) -> Connection:
    """Make what calls the service. Nothing is sent before the first call."""
    client = await _connect(options, lazy=True)
    timeout = options.limits.timeout
    starts = Starts(client, options.task_queue, options.limits, check_name=check_name, limit_of=limit_of)
    runs = Describing(client, options.task_queue, timeout)
    history = History(client, timeout)
    waiting = Waiting(runs, history, timeout)
    return Connection(
        client=client,
        starts=starts,
        runs=runs,
        history=history,
        waiting=waiting,
        listing=Listing(client, options.task_queue, runs.of, waiting.at, timeout),
        steering=Steering(client, options.task_queue, options.limits, runs, history, limit_of=limit_of),
        watches=Watches(runs.look_at, _POLL, _LONGEST_POLL),
    )


async def check(client: Client, timeout: timedelta) -> None:
    """Check that the service answers and has the namespace.

    Raises:
        GqlpluginError: It doesn't, as `answering` has it.
    """
    async with answering(timeout):
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))


async def connected(options: Options) -> Client:
    """A client that is connected, which a process that runs jobs needs: it waits for the service.

    Raises:
        PlatformCredentialsError: The service refuses the credentials.
    """
    pause = 0.5
    while True:
        try:
            return await _connect(options, lazy=False)
        except RuntimeError as error:
            if refuses_credentials(error):
                raise PlatformCredentialsError from error
            _logger.warning("The Temporal service at %s can't be reached yet: %s", options.address, _first_line(error))
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


async def _connect(options: Options, *, lazy: bool) -> Client:
    return await Client.connect(
        options.address,
        namespace=options.namespace,
        tls=options.tls,
        api_key=None if options.api_key is None else options.api_key.get_secret_value(),
        lazy=lazy,
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
