"""Outgoing webhooks: signed requests, to public addresses only unless others are allowed."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import NoneType
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, SecretStr

from gqlplugin.checks import caller_source, check_duration, check_function, check_type
from gqlplugin.codec import JsonCodec, NotJsonError
from gqlplugin.errors import DefinitionError, FailedPreconditionError, GqlpluginError, JobFailedError
from gqlplugin.executor.operation import TEN_ATTEMPTS, FiringOutcome, Operation, backoff, evaluated
from gqlplugin.job import JobContext
from gqlplugin.platform.base import JobRuntime
from gqlplugin.secret import Secret, SecretRef, reveal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_RETRY_AFTER = timedelta(hours=24)

# IANA's registries of special-purpose addresses, and multicast; `is_global` differs between versions of Python
_NOT_PUBLIC = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared, behind a carrier's NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # what Azure tells its machines
        "169.254.0.0/16",  # link-local, and what clouds tell their machines
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which names an IPv4 address
        "3fff::/20",  # documentation
    )
]
_UNICAST = IPv6Network("2000::/3")  # what is outside is local, multicast, mapped or compatible IPv4, or not given out
_NAT64 = IPv6Network("64:ff9b::/96")  # a public IPv4 address, where there is no IPv4 (RFC 6052, section 2.1)

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*\.?")
_DIGITS = re.compile(r"[0-9]{1,9}")
_HEADER_VALUE = re.compile(r"([!-~]([\t -~]*[!-~])?)?")


class TargetRefusedError(GqlpluginError):
    """Nothing is sent to this target."""

    code = "TARGET_REFUSED"


class UnreachableError(GqlpluginError):
    """The target could not be reached."""

    code = "TARGET_UNREACHABLE"
    retryable = True


class NoAnswerError(GqlpluginError):
    """The target did not answer in time."""

    code = "TARGET_TIMED_OUT"
    retryable = True


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. Made by `parse`; shows its host alone, as the rest of a URL may be secret.

    Attributes:
        host: In lower case, international names in their ASCII form.
    """

    host: str
    port: int
    url: httpx.URL = field(repr=False)

    @classmethod
    def parse(cls, url: object) -> Target:
        """The target that a URL names.

        Raises:
            TargetRefusedError: It is no absolute http or https URL, has a user or a password, or writes an address in
                another form than 192.0.2.1 or [2001:db8::1].
        """
        parsed = _read_url(url)
        if parsed is None:
            raise TargetRefusedError("The URL is malformed: give one such as https://example.com/hook.")
        if parsed.scheme not in _DEFAULT_PORTS:
            raise TargetRefusedError("The URL does not begin with https:// or http://.")
        if parsed.userinfo:
            raise TargetRefusedError("The URL holds a user or a password: send those in a header.")
        host = parsed.raw_host.decode("ascii").lower()
        if not _is_host(host):
            raise TargetRefusedError("The host in the URL is neither a name nor an address in its usual form.")
        port = _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
        if not 0 < port < 65536:
            raise TargetRefusedError("The port in the URL is not from 1 to 65535.")
        return cls(host, port, parsed)

    def check_literal(self, allowed: Sequence[Network]) -> None:
        """Refuse early an address in the URL that would be refused later.

        Raises:
            TargetRefusedError: It would.
        """
        try:
            address = ip_address(self.host)
        except ValueError:
            return
        _check([address], allowed)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a target answered.

    Attributes:
        retry_after: How long it wants to be left alone, at most 24 hours.
    """

    status: int
    retry_after: timedelta | None


async def post(
    target: Target, *, headers: Mapping[str, str], content: bytes, within: timedelta, allowed: Sequence[Network] = ()
) -> Reply:
    """Send a POST request, and tell how it was answered. The body of the answer is not read.

    Every request has a connection of its own: one that is shared would be checked for the name of the first request.

    Args:
        target: Where to.
        headers: In addition to host and length; see `is_header_value`.
        content: The body.
        within: For everything, from looking up the name to the answer.
        allowed: Networks that may be reached although they are not public.

    Raises:
        TargetRefusedError: The target has an address that is not public; nothing was sent.
        UnreachableError: There is no such name, no connection, or no answer that is HTTP.
        NoAnswerError: The time is over.
    """
    failure: GqlpluginError
    try:
        async with asyncio.timeout(within.total_seconds()):
            addresses = await _resolve(target)
            _check(addresses, allowed)
            return await _send(target, addresses, headers, content, within)
    except (TimeoutError, httpx.TimeoutException):
        failure = NoAnswerError(f"There was no answer within {within.total_seconds():g} s.")
    except socket.gaierror:
        failure = UnreachableError("The host's name could not be looked up.")
    except (httpx.TransportError, OSError) as error:
        failure = UnreachableError(f"The request failed: {type(error).__name__}.")
    # outside of the handlers: what they caught may quote headers or the answer
    raise failure


async def _resolve(target: Target) -> list[Address]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))


def _check(addresses: Iterable[Address], allowed: Sequence[Network]) -> None:
    """Refuse all addresses if one is bad: a name that has both kinds is nobody's honest mistake."""
    if not all(is_public(address) or _is_in(address, allowed) for address in addresses):
        raise TargetRefusedError(
            "The host has an address that is not public: if it is yours, name its network in allow_networks=."
        )


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return not _is_scoped(address) and any(address in network for network in networks)


def _is_scoped(address: Address) -> bool:
    """Whether an address names one of this machine's own links."""
    return isinstance(address, IPv6Address) and address.scope_id is not None


def is_public(address: Address) -> bool:
    """Whether an address is one that anybody on the Internet may reach."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _UNICAST or _is_scoped(address):
            return False
    return not any(address in network for network in _NOT_PUBLIC)


async def _send(
    target: Target, addresses: Sequence[Address], headers: Mapping[str, str], content: bytes, within: timedelta
) -> Reply:
    """Send it to the first of the addresses that can be connected to."""
    share = within.total_seconds() / len(addresses)
    *others, last = addresses
    for address in others:
        try:
            return await _send_to(address, target, headers, content, share)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await _send_to(last, target, headers, content, share)


async def _send_to(
    address: Address, target: Target, headers: Mapping[str, str], content: bytes, connect_seconds: float
) -> Reply:
    request = httpx.Request(
        "POST",
        target.url.copy_with(host=str(address)),
        headers={**headers, "host": target.url.netloc.decode("ascii")},
        content=content,
        # TLS asks for, and checks, the name in the URL and not the address
        extensions={"sni_hostname": target.host.rstrip("."), "timeout": {"connect": connect_seconds}},
    )
    # not httpx's client, which logs the URL and follows the environment
    async with httpx.AsyncHTTPTransport(verify=_ssl_context(), trust_env=False) as transport:
        response = await transport.handle_async_request(request)
        try:
            return Reply(response.status_code, _retry_after(response.headers.get("retry-after")))
        finally:
            await response.aclose()


@cache
def _ssl_context() -> ssl.SSLContext:
    """Made once, which takes some 20 ms; SSL_CERT_FILE and SSL_CERT_DIR say whom to trust instead of the usual."""
    return httpx.create_ssl_context()


def _read_url(url: object) -> httpx.URL | None:
    if not isinstance(url, str):
        return None
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # whose texts quote the URL
        return None


def _is_host(host: str) -> bool:
    if ":" in host:
        return "%" not in host
    if len(host) > 253 or not _HOST.fullmatch(host):
        return False
    last = host.rstrip(".").rpartition(".")[2]
    return not (last.isdigit() or last.startswith("0x")) or _is_ipv4(host)


def _is_ipv4(host: str) -> bool:
    """Whether this is the one form that every resolver reads alike: not 127.1, 0x7f.1, 0177.0.0.1 or 2130706433."""
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


def is_header_value(value: str) -> bool:
    """Whether this can be sent as the value of a header: printable ASCII, no line breaks, no blanks at the ends."""
    return _HEADER_VALUE.fullmatch(value) is not None


def _retry_after(value: str | None) -> timedelta | None:
    """How long to wait (RFC 9110, section 10.2.3); None when that isn't said in a way that can be understood."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        wait = timedelta(seconds=int(value)) if _DIGITS.fullmatch(value) else MAX_RETRY_AFTER
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


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
