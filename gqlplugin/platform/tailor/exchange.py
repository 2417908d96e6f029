"""A request and its whole answer, bounded. What is wrong with an exchange says whether the server can have had it."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from gqlplugin.platform.tailor.errors import CallError
from gqlplugin.platform.watch import closing

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
