"""Sending webhooks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from ipaddress import ip_network
from types import NoneType
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr

from gqlplugin.checks import check_duration, check_function, check_type
from gqlplugin.codec import JsonCodec, NotJsonError
from gqlplugin.errors import DefinitionError, FailedPreconditionError, GqlpluginError, JobFailedError
from gqlplugin.executor.operation import FiringOutcome, Operation, evaluated
from gqlplugin.executor.retrying import TEN_ATTEMPTS, backoff
from gqlplugin.job import JobContext
from gqlplugin.outbound import Network, Reply, Target, TargetRefusedError, is_header_value, post
from gqlplugin.platform.base import JobRuntime
from gqlplugin.secret import Secret, SecretRef, reveal
from gqlplugin.source import caller_source

A = TypeVar("A")
C_contra = TypeVar("C_contra", contravariant=True)

Json = Mapping[str, object] | Sequence[object] | BaseModel | str | int | float | bool | None
"""A JSON value, or a model that becomes one."""

USER_AGENT = f"gqlplugin/{version('gqlplugin')}"

_GONE = 410
_OURS = frozenset({"connection", "content-length", "host", "transfer-encoding", "webhook-id"})
_NAME_CHARACTERS = frozenset("!#$%&'*+-.^_`|~")  # of a token (RFC 9110, section 5.6.2), besides letters and digits
_JSON: JsonCodec[Any] = JsonCodec(Any)


class WebhookOperation(Operation[C_contra]):
    """Sends a request. Made by `webhook_operation`."""

    kind = "webhook"
    retry_policy = TEN_ATTEMPTS

    def __init__(
        self,
        url: str | Callable[..., object],
        headers: Mapping[str, str | Secret],
        request_body: object,
        timeout: timedelta,
        allowed: Sequence[Network],
    ) -> None:
        self._url = url
        self._headers = headers
        self._body = request_body
        self._timeout = timeout
        self._allowed = allowed

    @property
    def detail(self) -> str:
        return (
            Target.parse(self._url).host if isinstance(self._url, str) else "(a host that follows from the arguments)"
        )

    async def run(self, args: C_contra, runtime: JobRuntime) -> FiringOutcome:
        """Send it once; whoever gets it can tell a repetition by the header `webhook-id`, the ID of the firing."""
        target = _target(await evaluated("url", self._url, args))
        content = await self._content(args)
        headers = {"user-agent": USER_AGENT}
        if content is not None:
            headers["content-type"] = "application/json"
        headers |= self._revealed()
        headers["webhook-id"] = runtime.execution.id
        reply = await self._send(target, headers, content or b"", runtime)
        self._check(reply, runtime)
        return FiringOutcome(result=reply.status)

    async def _content(self, args: C_contra) -> bytes | None:
        if self._body is None:
            return None
        body = await evaluated("request_body", self._body, args)
        try:
            return _JSON.write(body).encode()
        except NotJsonError:
            kind = type(body).__name__
        raise JobFailedError(
            f"The function for request_body returned a value of type {kind} that is not JSON.",
            code="EXECUTOR_REQUEST_BODY_FAILED",
            may_retry=False,
        )

    def _revealed(self) -> dict[str, str]:
        headers = {}
        for name, given in self._headers.items():
            try:
                value = given if isinstance(given, str) else reveal(given)
            except FailedPreconditionError as error:
                raise JobFailedError(error.message, code=error.code, may_retry=False) from None
            if not is_header_value(value):
                raise JobFailedError(_unfit(name), code="EXECUTOR_HEADERS_FAILED", may_retry=False)
            headers[name] = value
        return headers

    async def _send(self, target: Target, headers: Mapping[str, str], content: bytes, runtime: JobRuntime) -> Reply:
        log, began = JobContext(runtime).log, time.monotonic()
        try:
            reply = await post(target, headers=headers, content=content, within=self._timeout, allowed=self._allowed)
        except GqlpluginError as error:
            log.warning("POST to %s: %s (%d ms)", target.host, error.message, _milliseconds_since(began))
            raise self._failure(error.message, error.code, runtime, may_retry=error.retryable) from None
        log.info("POST to %s: %d (%d ms)", target.host, reply.status, _milliseconds_since(began))
        return reply

    def _check(self, reply: Reply, runtime: JobRuntime) -> None:
        status = reply.status
        if 200 <= status < 300:
            return
        if status == _GONE:
            raise JobFailedError("The webhook answered 410: it is gone.", code="WEBHOOK_GONE", may_retry=False)
        what = ", a redirect, which is not followed: give the URL that it leads to" if 300 <= status < 400 else ""
        raise self._failure(
            f"The webhook answered {status}{what}.", "WEBHOOK_FAILED", runtime, retry_after=reply.retry_after
        )

    def _failure(
        self,
        message: str,
        code: str,
        runtime: JobRuntime,
        *,
        may_retry: bool = True,
        retry_after: timedelta | None = None,
    ) -> JobFailedError:
        wait = backoff(self.retry_policy, runtime.execution.attempt, at_least=retry_after) if may_retry else None
        return JobFailedError(message, code=code, may_retry=may_retry, retry_after=wait)


def webhook_operation(
    url: str | Callable[[A], str | Awaitable[str]],
    *,
    headers: Mapping[str, str | Secret] | None = None,
    request_body: Json | Callable[[A], Json | Awaitable[Json]] = None,
    timeout: timedelta = timedelta(seconds=30),
    allow_networks: Sequence[str] = (),
) -> Operation[A]:
    """Send a POST request to a URL.

    ```python
    webhook_operation(
        "https://example.com/orders",
        headers={"authorization": secret("ORDERS_AUTHORIZATION")},
        request_body=lambda args: {"orderId": args.new_record.id},
    )
    ```

    An answer other than 2xx, none in time, or no connection: it is tried 10 times in all, with waits by chance that
    double from 5 s, and not before what `retry-after` says. It is not tried again after 410, or when no try could end
    otherwise. All tries have the same header `webhook-id`, by which the receiver tells a repetition: one can come after
    a success too, when the process ended before the success was kept.

    Only public addresses are connected to, and redirects are not followed. Of the answer only the status is read.

    Args:
        url: Where to, or a function of the trigger's arguments that makes it.
        headers: In addition to `content-type`, `user-agent` and `webhook-id`. Secrets are looked up at each try.
        request_body: A JSON value or a model, or a function that makes one; no body by default. A function that raises
            fails the firing, which is not tried again.
        timeout: For one try.
        allow_networks: Networks of your own that may be reached although they are not public, such as "10.1.0.0/16".

    Raises:
        DefinitionError: The URL is malformed or its address not public, a header can't be sent or is set by us, the
            body is not JSON, the timeout is not above 0, or a network is malformed.
    """
    where = f"the webhook_operation at {caller_source()}"
    check_duration(where, "timeout", timeout)
    check_type(where, "headers", headers, (Mapping, NoneType), 'headers={"x-name": "value"}')
    for name, function in (("url", url), ("request_body", request_body)):
        if callable(function):
            check_function(where, name, function, 1, "a function of the trigger's arguments")
    allowed, headers = _networks(allow_networks, where), headers or {}
    problems = [*_bad_url(url, allowed), *_bad_headers(headers), *_bad_body(request_body)]
    if timeout <= timedelta(0):
        problems.append("its timeout is not above 0")
    if problems:
        raise DefinitionError([f"{where}: {problem}" for problem in problems])
    given = {name.lower(): value for name, value in headers.items()}
    return WebhookOperation(url, given, request_body, timeout, allowed)


def _networks(given: Sequence[str], where: str) -> list[Network]:
    try:
        return [ip_network(network) for network in ([given] if isinstance(given, str) else given)]
    except (ValueError, TypeError) as error:
        raise DefinitionError(f'{where} takes allow_networks= such as ["10.1.0.0/16"]: {error}') from None


def _bad_url(url: object, allowed: Sequence[Network]) -> list[str]:
    if callable(url):
        return []
    try:
        Target.parse(url).check_literal(allowed)
    except TargetRefusedError as error:
        return [error.message]
    return []


def _bad_body(body: object) -> list[str]:
    if callable(body):
        return []
    try:
        _JSON.write(body)
    except NotJsonError as error:
        return [f"its request_body is not JSON: {error}"]
    return []


def _bad_headers(headers: Mapping[Any, object]) -> list[str]:
    problems = []
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str | SecretRef | SecretStr):
            problems.append(f'the header {name!r} must be text, with text or a secret: "value" or secret("NAME").')
        elif name.lower() in _OURS:
            problems.append(f"the header {name!r} is set by itself: leave it out.")
        elif not name.isascii() or not name or not all(one.isalnum() or one in _NAME_CHARACTERS for one in name):
            problems.append(f"{name!r} can't be the name of a header.")
        elif isinstance(value, str) and not is_header_value(value):
            problems.append(_unfit(name))
    names = [str(name).lower() for name in headers]
    return problems + [f"the header {name!r} is given twice." for name in sorted(set(names)) if names.count(name) > 1]


def _unfit(header: str) -> str:
    return f"The value of header {header!r} can't be sent: line breaks, blanks at its ends, and what is not ASCII."


def _target(url: object) -> Target:
    try:
        return Target.parse(url)
    except TargetRefusedError as error:
        raise JobFailedError(error.message, code=error.code, may_retry=False) from None


def _milliseconds_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
