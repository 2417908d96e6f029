"""HTTP requests to the platform within limits, and what their errors mean."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx

from gqlplugin.errors import (
    FailedPreconditionError,
    ForbiddenError,
    GqlpluginError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformUnavailableError,
    UnsupportedError,
)
from gqlplugin.platform.watch import closing
from gqlplugin.tasks import begin, result_of

_MAX_DETAIL = 500

_CODES = frozenset(
    (
        "canceled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
        "unauthenticated",
    )
)

_CODE_OF_STATUS = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}

_PUBLIC: dict[str, tuple[type[GqlpluginError], str | None]] = {
    "invalid_argument": (InvalidInputError, "The workflow platform refused the request as not valid."),
    "out_of_range": (InvalidInputError, "The workflow platform refused the request as not valid."),
    "not_found": (NotFoundError, None),
    "failed_precondition": (FailedPreconditionError, None),
    "permission_denied": (ForbiddenError, "The workflow platform does not allow this."),
    "unauthenticated": (PlatformCredentialsError, None),
    "already_exists": (IdempotencyKeyReusedError, None),
    "unimplemented": (UnsupportedError, "The workflow platform can't do this."),
}


class CallError(Exception):
    """Why a call has no result, for logs and operators; callers of the API get `public_error`.

    Args:
        code: A Connect code (TAILOR.md section 1).
        detail: The server's own words, or ours where it said nothing.
        status: The HTTP status; None when there was no answer.
        sent: Whether the server can have had the request.
        ours: Whether the server is gqlplugin's, so that `detail` is written for callers.
    """

    def __init__(
        self, code: str, detail: str, *, status: int | None = None, sent: bool = True, ours: bool = False
    ) -> None:
        self.code = code
        self.detail = _one_line(detail)
        self.status = status
        self.sent = sent
        self.ours = ours
        super().__init__(f"{code}{'' if status is None else f' (HTTP {status})'}: {self.detail}")

    @property
    def lost(self) -> bool:
        """Whether the server may have done what was asked: it did not answer, or not with a clear refusal."""
        if not self.sent or self.code == "unimplemented":
            return False
        return self.status is None or not 400 <= self.status < 499 or self.status == 408

    @property
    def passing(self) -> bool:
        """Whether another try may succeed soon."""
        return self.code in ("unavailable", "internal", "resource_exhausted")


def public_error(error: CallError, *, unknown: bool) -> GqlpluginError:
    """The error for callers: a foreign server's own words are left out.

    Args:
        error: What happened last.
        unknown: Whether something may have been done that matters.
    """
    if unknown:
        return OutcomeUnknownError()
    kind, message = _PUBLIC.get(error.code, (PlatformUnavailableError, None))
    if error.ours and error.code in _PUBLIC and error.code != "unauthenticated":
        message = error.detail
    return kind(message)


def code_of_status(status: int) -> str:
    """The code of an answer that is not a Connect error."""
    return _CODE_OF_STATUS.get(status, "unknown")


def is_code(code: str) -> bool:
    """Whether this is a code of the Connect protocol."""
    return code in _CODES


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", text[: 2 * _MAX_DETAIL]).strip()[:_MAX_DETAIL]


@contextmanager
def missing(problem: str) -> Iterator[None]:
    """Say in our own words what was not found."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(problem) from error.__cause__


@contextmanager
def unsupported(problem: str) -> Iterator[None]:
    """Say in our own words what the platform can't do."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(problem) from error.__cause__


T = TypeVar("T")


class Flights(Generic[T]):
    """Calls under way, by what they are for. One goes on when those who wait for it are cancelled."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Future[T]] = {}

    async def join(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result of the call for this key that is under way, or of a new one."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = begin(call())
            task.add_done_callback(lambda _: self._tasks.pop(key))
        return await result_of(task)

    async def land(self) -> None:
        """Wait for all that is under way."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def gather_bounded(calls: Iterable[Callable[[], Awaitable[T]]], *, at_once: int = 8) -> list[T]:
    """The results of calls, a few of them at once; the first error ends them all."""
    free = asyncio.Semaphore(at_once)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with free:
            return await call()

    tasks = [asyncio.ensure_future(one(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


MAX_ANSWER_BYTES = 16 * 1024 * 1024

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: httpx.Headers
    content: bytes


async def exchange(http: httpx.AsyncClient, request: httpx.Request) -> Answer:
    """Send a request and read its answer.

    Raises:
        CallError: There is no answer, or one that is too long.
        PlatformUnavailableError: The client is closed.
    """
    if http.is_closed:
        raise closing()
    request.headers["accept-encoding"] = "identity"  # so that a limit on what is read is one on what is held
    try:
        response = await http.send(request, stream=True)
        try:
            return Answer(response.status_code, response.headers, await _content(response))
        finally:
            await response.aclose()
    except _NEVER_SENT as error:
        raise CallError("unavailable", f"{type(error).__name__}: {error}", sent=False) from error
    except httpx.HTTPError as error:
        raise CallError("unavailable", f"{type(error).__name__}: {error}") from error


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():  # raw: an answer that is compressed all the same is never unpacked
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise CallError(
                "unknown", f"the answer is longer than {MAX_ANSWER_BYTES} bytes", status=response.status_code
            )
    return bytes(content)
