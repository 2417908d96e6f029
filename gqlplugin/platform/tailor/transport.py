"""Calls to the operator service: Connect unary RPC, JSON over HTTP/1.1 (TAILOR.md section 1)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import TypeVar

import httpx
import stamina
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import from_json

from gqlplugin.codec import describe
from gqlplugin.errors import (
    GqlpluginError,
    InvalidInputError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformUnavailableError,
    UnsupportedError,
)
from gqlplugin.platform.tailor.credentials import Credentials
from gqlplugin.platform.tailor.exchange import Answer, CallError, code_of_status, exchange, is_code, public_error
from gqlplugin.platform.tailor.messages import ListWorkflowsAnswer
from gqlplugin.telemetry import trace_headers

M = TypeVar("M", bound=BaseModel)

ATTEMPTS = 3
USER_AGENT = f"gqlplugin/{version('gqlplugin')}"

_SERVICE = "/tailor.v1.OperatorService/"
EXTENSIONS_HEADER = "gqlplugin-extensions"
"""In an answer it announces a server of gqlplugin, in a request a client that knows all statuses and fields of one."""
_OPERATORS = (OutcomeUnknownError, PlatformCredentialsError, PlatformUnavailableError, UnsupportedError)
"""What only an operator can do something about."""

_logger = logging.getLogger("gqlplugin.tailor")


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    body: bytes
    deadline: float
    key: str | None


class Transport:
    """Calls methods of the service for one workspace.

    Args:
        http: Sends the requests.
        url: The base URL, without a slash at its end.
        workspace_id: What every call is for.
        credentials: Where the token comes from.
        timeout: For a call with all its attempts.

    Attributes:
        extensions: Whether the server is gqlplugin's and knows its fields; None until it has answered.
    """

    def __init__(
        self, http: httpx.AsyncClient, url: str, workspace_id: str, credentials: Credentials, timeout: timedelta
    ) -> None:
        self.extensions: bool | None = None
        self._http = http
        self._url = url
        self._workspace_id = workspace_id
        self._credentials = credentials
        self._timeout = timeout.total_seconds()
        self._waiting: set[asyncio.Timeout] = set()
        self._closed = False

    async def call(
        self,
        method: str,
        message: Mapping[str, object],
        answer: type[M],
        *,
        idempotency_key: str | None = None,
        may_repeat: bool = False,
    ) -> M:
        """Call a method, and again where that can't do anything twice.

        Args:
            method: Its name; one that begins with Get or List only reads.
            message: The request, without the workspace.
            answer: What the answer is read as.
            idempotency_key: Makes the server do it once, however often it is asked; ASCII.
            may_repeat: Whether doing it twice is as good as doing it once.

        Raises:
            OutcomeUnknownError: It does not only read, and the server may or may not have done it.
            GqlpluginError: The server refused, or can't be reached.
        """
        reads = method.startswith(("Get", "List"))
        safe = may_repeat or idempotency_key is not None
        lost = False

        def worth_another_try(error: Exception) -> bool:
            if not isinstance(error, CallError):
                return False
            return not error.sent or (error.passing and (reads or safe)) or (error.lost and safe)

        deadline = asyncio.get_running_loop().time() + self._timeout
        call = _Call(method, self._encode(message), deadline, idempotency_key)
        try:
            async for attempt in stamina.retry_context(
                worth_another_try,
                attempts=ATTEMPTS,
                timeout=self._timeout,
                wait_initial=0.05,
                wait_max=1.0,
                wait_jitter=0.05,
            ):
                with attempt:
                    try:
                        return await self._attempt(call, answer)
                    except CallError as error:
                        lost = lost or error.lost
                        raise
        except CallError as error:
            public = public_error(error, unknown=lost and not reads)
            _logger.log(logging.WARNING if isinstance(public, _OPERATORS) else logging.DEBUG, "%s: %s", method, error)
            raise public from error
        except GqlpluginError as error:  # there is no token, or the platform is being closed
            _logger.warning("%s: %s", method, error.__cause__ or error)
            if lost and not reads:
                raise OutcomeUnknownError from error
            raise
        raise AssertionError("an attempt ends with a result or an error")

    async def check(self) -> None:
        """Check that the server answers, and takes the token."""
        await self.call("ListWorkflows", {"pageSize": 1}, ListWorkflowsAnswer)

    async def has_extensions(self) -> bool:
        """Whether the server is gqlplugin's; asks it when it has not answered anything yet."""
        if self.extensions is None:
            await self.check()
        return bool(self.extensions)

    async def aclose(self) -> None:
        """End the calls that wait for an answer, and close the connections."""
        self._closed = True  # httpx would let them wait for their time-out
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(0)
        await self._http.aclose()

    def _encode(self, message: Mapping[str, object]) -> bytes:
        try:
            return json.dumps({"workspaceId": self._workspace_id, **message}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InvalidInputError("The request holds half a surrogate pair, which can't be sent.") from None

    async def _attempt(self, call: _Call, answer: type[M]) -> M:
        token = await self._credentials.token()
        try:
            return await self._post(call, answer, token)
        except CallError as error:
            if error.code != "unauthenticated" or not await self._credentials.renew(token):
                raise
        return await self._post(call, answer, await self._credentials.token())

    async def _post(self, call: _Call, answer: type[M], token: SecretStr) -> M:
        left = call.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise CallError("deadline_exceeded", f"the {self._timeout:g} s were over before it was sent", sent=False)
        request = self._http.build_request(
            "POST", self._url + _SERVICE + call.method, content=call.body, headers=_headers(left, call.key)
        )
        request.headers["authorization"] = f"Bearer {token.get_secret_value()}"
        limit = asyncio.timeout_at(call.deadline)
        self._waiting.add(limit)
        try:
            async with limit:
                got = await exchange(self._http, request)
        except TimeoutError:
            if self._closed:
                raise CallError("canceled", "the platform is being closed") from None
            raise CallError("deadline_exceeded", f"no answer within {self._timeout:g} s") from None
        finally:
            self._waiting.discard(limit)
        ours = got.headers.get(EXTENSIONS_HEADER) == "1"
        if ours:
            self.extensions = True
        if got.status != 200:
            raise _refusal(got, ours=ours, token=token)
        read = _read(got.content, answer)
        self.extensions = ours  # only now: what garbles an answer loses its headers too
        return read


def _headers(seconds_left: float, key: str | None) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "connect-protocol-version": "1",
        "connect-timeout-ms": str(max(1, int(seconds_left * 1000))),
        "user-agent": USER_AGENT,
        EXTENSIONS_HEADER: "1",
    }
    headers.update(trace_headers())
    if key is not None:
        headers["idempotency-key"] = key
    return headers


def _refusal(got: Answer, *, ours: bool, token: SecretStr) -> CallError:
    code, message = code_of_status(got.status), got.content.decode(errors="replace")
    try:
        body = from_json(got.content)
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("code"), str) and is_code(body["code"]):
        code, message = body["code"], str(body.get("message") or "")
    else:
        ours = False
    return CallError(code, message.replace(token.get_secret_value(), "***"), status=got.status, ours=ours)


def _read(content: bytes, answer: type[M]) -> M:
    try:
        return answer.model_validate_json(content)
    except ValidationError as error:
        raise CallError("unknown", f"the answer is not a {answer.__name__}: {describe(error)}", status=200) from None
