"""Requests to where somebody else may have said: to public addresses alone, unless others are allowed.

A name is looked up once, every address it has is checked, and the connection goes to one of these: a name server that
answers otherwise a moment later changes nothing. Redirects are not followed, and proxies of the environment not used.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from gqlplugin.errors import GqlpluginError

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
