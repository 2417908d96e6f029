"""Key sets that are read again while the app runs, as their keys rotate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
from anyio import to_thread

from gqlplugin.authentication.keys import Key, KeySetError, fitting, read_key_set
from gqlplugin.errors import AuthenticationUnavailableError, DefinitionError
from gqlplugin.tasks import begin

MAX_BYTES = 256 * 1024
_TIMEOUT = timedelta(seconds=5)
_PATIENCE = timedelta(seconds=6)  # longer than a read from a URL, which then says what it came to
_LONGEST_PAUSE = timedelta(minutes=1)

_logger = logging.getLogger("gqlplugin.authentication")


class RotatingKeys:
    """The keys of a key set, kept for a while, and read again when a token names one that isn't there.

    A token with a known key never waits for a read: when the keys are older than `lifetime`, they are read again behind
    it. A token with an unknown key waits for a read, for at most six seconds. However many tokens ask, there is one
    read at a time, and not another one within `cooldown`; after reads that failed, that doubles up to a minute.

    A key that the set no longer has is dropped by the first read that succeeds. While none does, keys are used until
    they are `lifetime + grace` old.

    Args:
        read: Reads its text; raises `OSError`, `httpx.HTTPError` or `KeySetError` when it can't.
        algorithms: Those that are allowed.
        lifetime: How old keys become before they are read again.
        grace: How much older they may become when they can't be read.
        cooldown: How long to wait before reading again what did not help.
        clock: Tells the seconds that have passed since some moment.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        algorithms: Sequence[str],
        *,
        lifetime: timedelta,
        grace: timedelta,
        cooldown: timedelta = timedelta(seconds=10),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._algorithms = algorithms
        self._lifetime = lifetime.total_seconds()
        self._grace = grace.total_seconds()
        self._cooldown = cooldown.total_seconds()
        self._clock = clock
        self._keys: Sequence[Key] = ()
        self._read_at = -float("inf")
        self._next_try_at = -float("inf")
        self._failures = 0
        self._reading: asyncio.Future[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that fit.

        Raises:
            AuthenticationUnavailableError: The key set can't be read, and what was read of it is too old.
        """
        age = self._clock() - self._read_at
        found = fitting(self._keys, key_id, algorithm) if age <= self._lifetime + self._grace else []
        if found and age <= self._lifetime:
            return found
        reading = self._begin_reading()
        if found:
            return found
        if reading is not None:  # who waits may be cancelled, and others wait for the same
            await asyncio.wait([reading], timeout=_PATIENCE.total_seconds())
        if self._clock() - self._read_at > self._lifetime + self._grace:
            raise AuthenticationUnavailableError
        return fitting(self._keys, key_id, algorithm)

    def _begin_reading(self) -> asyncio.Future[None] | None:
        """The read that is under way, or a new one; None while it is too early for that."""
        if self._reading is None and self._clock() >= self._next_try_at:
            self._next_try_at = self._clock() + self._cooldown
            self._reading = begin(self._load())
            self._reading.add_done_callback(self._end_reading)
        return self._reading

    async def _load(self) -> None:
        try:
            self._keys = read_key_set(await self._read(), self._algorithms)
        except Exception as error:
            self._failures += 1
            pause = min(self._cooldown * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE.total_seconds())
            self._next_try_at = self._clock() + pause
            is_outage = isinstance(error, (OSError, httpx.HTTPError, KeySetError))  # TimeoutError is an OSError
            reason = error if isinstance(error, KeySetError) else type(error).__name__
            _logger.warning(
                "The key set could not be read: %s. The next try is in %g seconds at the earliest.",
                reason,
                pause,
                exc_info=None if is_outage else error,
            )
        else:
            self._read_at, self._failures = self._clock(), 0

    def _end_reading(self, _: asyncio.Future[None]) -> None:
        self._reading = None


def from_file(path: Path) -> Callable[[], Awaitable[bytes]]:
    """Reads a key set from a file.

    Raises:
        DefinitionError: The file can't be read now.
    """

    def read() -> bytes:
        with path.open("rb") as file:
            return _bounded(file.read(MAX_BYTES + 1))

    try:
        read()
    except OSError as error:
        raise DefinitionError(f"JWTAuthenticator can't read jwks_file={str(path)!r}: {error.strerror}.") from None
    return lambda: to_thread.run_sync(read)


def from_url(url: str) -> Callable[[], Awaitable[bytes]]:
    """Reads a key set from where an identity provider publishes it.

    Raises:
        DefinitionError: It is no https URL, nor an http one of this machine.
    """
    if (problem := _problem_with(url)) is not None:
        raise DefinitionError(f"JWTAuthenticator(jwks_url=) {problem}.")

    async def read() -> bytes:
        headers = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}
        async with (
            asyncio.timeout(_TIMEOUT.total_seconds()),
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=_TIMEOUT.total_seconds()) as http,
            http.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise KeySetError(f"it was answered with status {response.status_code}")
            text = b""
            async for chunk in response.aiter_raw():
                text = _bounded(text + chunk)
            return text

    return read


def _bounded(text: bytes) -> bytes:
    if len(text) > MAX_BYTES:
        raise KeySetError(f"it is larger than {MAX_BYTES} bytes")
    return text


def _problem_with(url: str) -> str | None:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return "is malformed: give a URL such as https://id.example.com/.well-known/jwks.json"
    if parsed.userinfo or parsed.fragment:
        return "must be without credentials and fragment"
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _is_loopback(parsed.host)):
        return (
            "must begin with https://; http:// is for this machine alone, as keys that others can change prove nothing"
        )
    return None if parsed.host else "names no host"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
