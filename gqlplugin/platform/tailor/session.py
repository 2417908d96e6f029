"""An open connection to the platform: what `TailorPlatform` has between its first entering and its last exit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import httpx
from pydantic import SecretStr

from gqlplugin.platform.tailor.credentials import (
    Credentials,
    FixedToken,
    ProfileToken,
    read_login,
    read_workspace_id,
)
from gqlplugin.platform.tailor.jobs import look_at_run
from gqlplugin.platform.tailor.oauth import TokenEndpoint
from gqlplugin.platform.tailor.settings import TailorSettings, check_url, check_workspace_id, is_loopback
from gqlplugin.platform.tailor.starts import Starts
from gqlplugin.platform.tailor.transport import Transport
from gqlplugin.platform.watch import Watches

_logger = logging.getLogger("gqlplugin.tailor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was given to `TailorPlatform`; None is looked up in the environment and the profile."""

    url: str | None
    workspace_id: str | None
    token: SecretStr | None
    profile: str | None
    timeout: timedelta
    poll_interval: timedelta
    max_poll_interval: timedelta
    max_connections: int
    transport: httpx.AsyncBaseTransport | None


@dataclass(frozen=True, slots=True)
class Session:
    """What works while the platform is entered."""

    url: str
    credentials: Credentials
    transport: Transport
    starts: Starts
    watches: Watches

    async def close(self) -> None:
        """Tell those who wait, let what must not be cut off end, and close the connections."""
        await self.watches.close()
        await self.credentials.aclose()
        await self.transport.aclose()


async def open_session(options: Options, *, check_name: Callable[[str], None]) -> Session:
    """Find out where and as whom, and make the client. Nothing is sent yet.

    Raises:
        InvalidInputError: The URL or the workspace is missing or not valid.
        PlatformCredentialsError: There is no token, or it can't be read.
    """
    settings = TailorSettings()
    url = check_url(options.url if options.url is not None else settings.url)
    if (base := httpx.URL(url)).scheme == "http" and not is_loopback(base.host):
        _logger.warning("The token is sent to %s without encryption: use https where others can listen", base.host)
    profile = options.profile or settings.profile
    workspace_id = options.workspace_id or settings.workspace_id
    if not workspace_id:
        workspace_id = await asyncio.to_thread(read_workspace_id, settings, profile)
    workspace_id = check_workspace_id(workspace_id)
    token = options.token if options.token is not None else settings.token
    credentials: Credentials
    if token is not None:
        credentials = FixedToken(token)
        http = _client(options)
    else:
        user, login = await asyncio.to_thread(read_login, settings, profile)
        http = _client(options)
        endpoint = TokenEndpoint(http, url, settings.client_id, options.timeout)
        credentials = ProfileToken(settings.profile_path, user, login, endpoint)
    transport = Transport(http, url, workspace_id, credentials, options.timeout)
    return Session(
        url,
        credentials,
        transport,
        Starts(transport, check_name=check_name),
        Watches(partial(look_at_run, transport), options.poll_interval, options.max_poll_interval),
    )


def _client(options: Options) -> httpx.AsyncClient:
    seconds = options.timeout.total_seconds()
    # connecting gets a part of the time, so that a start that never got through can be told from one that is lost
    timeout = httpx.Timeout(seconds, connect=seconds / 4, pool=seconds / 2)
    limits = httpx.Limits(
        max_connections=options.max_connections, max_keepalive_connections=options.max_connections, keepalive_expiry=5
    )
    return httpx.AsyncClient(transport=options.transport, limits=limits, timeout=timeout, follow_redirects=False)
