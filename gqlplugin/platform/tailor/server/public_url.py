"""The URL under which clients reach the server: to it they send the secrets of machine users."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextvars import ContextVar
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from gqlplugin.errors import InvalidInputError
from gqlplugin.platform.tailor.settings import is_loopback

_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_logger = logging.getLogger("gqlplugin.tailor.server")

current_scope: ContextVar[Scope] = ContextVar("gqlplugin_request_scope")
"""The ASGI scope of the request that is being answered, which Connect's context lacks."""


class PublicUrl:
    """Finds the URL of a server.

    A header that anyone can send must not redirect a secret, nor send it unencrypted. So the `Host` header counts over
    https, or where it names this very machine; `X-Forwarded-Proto` and `X-Forwarded-Host` count from trusted proxies.

    Args:
        url: The URL, where it is known; empty to derive it from each request.
        trusted_proxies: IP addresses and networks; "*" trusts all.

    Raises:
        InvalidInputError: The URL, an address or a network is malformed.
    """

    def __init__(self, url: str, trusted_proxies: Iterable[str]) -> None:
        if url and not _is_base_url(url):
            raise InvalidInputError("url must be the http or https URL of this server, without credentials and query.")
        self._url = url.rstrip("/")
        given = list(trusted_proxies)
        self._trusts_all = "*" in given
        self._trusted = [_network(one) for one in given if one != "*"]
        self._warned = False

    def of(self, scope: Scope) -> str:
        """The URL for whoever sent a request; empty where there is none that a secret may be sent to."""
        if self._url:
            return self._url
        base = self._origin(scope, Headers(scope=scope))
        return base and base + str(scope.get("root_path", "")).rstrip("/")

    def _origin(self, scope: Scope, headers: Headers) -> str:
        scheme, host = scope["scheme"], headers.get("host", "")
        forwarded = _last(headers, "x-forwarded-proto").lower()
        if forwarded in _DEFAULT_PORTS and self._is_trusted(scope):
            return _url(forwarded, _last(headers, "x-forwarded-host") or host)
        name = _hostname(host)
        if host and name is None:
            return ""
        if name is not None and (scheme == "https" or is_loopback(name)):
            return _url(scheme, host)
        server, port = scope.get("server") or ("", None)
        if port is None and server.startswith("/"):  # a Unix socket
            server = ""
        if forwarded == "https" and scheme == "http":
            self._warn(scope)
            if not is_loopback(server):
                return ""
        server = f"[{server}]" if ":" in server else server
        return _url(scheme, server if port in (None, _DEFAULT_PORTS[scheme]) else f"{server}:{port}")

    def _is_trusted(self, scope: Scope) -> bool:
        if self._trusts_all:
            return True
        try:
            address = ip_address((scope.get("client") or ("", 0))[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)

    def _warn(self, scope: Scope) -> None:
        if self._warned:
            return
        self._warned = True
        peer = (scope.get("client") or ("an unknown address", 0))[0]
        _logger.warning(
            "A proxy at %s reports https, but is not trusted, so the application's URL is not known. Set the URL "
            "(--url, or url= of create_server), or trust the proxy (--forwarded-allow-ips %s, or trusted_proxies=).",
            peer,
            peer,
        )


def _url(scheme: str, host: str) -> str:
    return "" if _hostname(host) is None else f"{scheme}://{host}"


def _hostname(host: str) -> str | None:
    """The name or the address in a host, without its port; None when it is malformed."""
    if not _HOST.fullmatch(host):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname


def _last(headers: Headers, name: str) -> str:
    """The value that the nearest proxy added."""
    values = headers.getlist(name)
    return values[-1].rpartition(",")[2].strip() if values else ""


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise InvalidInputError(
            f"A trusted proxy must be an IP address, a network such as 10.0.0.0/8, or '*', not {text!r}."
        ) from None


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    return whole and not ("@" in parts.netloc or parts.query or parts.fragment)
