"""Requests that go out: which addresses they reach, and what comes back of them."""

import asyncio
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gqlplugin.executor.outgoing_webhook import (
    MAX_RETRY_AFTER,
    NoAnswerError,
    Reply,
    Target,
    TargetRefusedError,
    UnreachableError,
    _ssl_context,
    is_header_value,
    is_public,
    post,
)

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
LOOPBACK = [ip_network("127.0.0.1/32")]
PATIENCE = timedelta(seconds=60)

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """A server that keeps what it is sent."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def receiver(
    answer: bytes | Answer = OK, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A server on loopback that gives one answer to whatever comes."""
    seen = Receiver()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
            )
            seen.requests.append(head + await reader.readexactly(length))
            if callable(answer):
                await answer(reader, writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    async with server:
        seen.port = server.sockets[0].getsockname()[1]
        yield seen


async def send(url: str, *, within: timedelta = PATIENCE, allowed: Any = LOOPBACK, **headers: str) -> Reply:
    """Send a small request."""
    return await post(Target.parse(url), headers=headers, content=b"{}", within=within, allowed=allowed)


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Decides what addresses a name has, one answer per look-up; returns the names that were looked up."""
    loop = asyncio.get_running_loop()

    def become(*answers: list[str]) -> list[str]:
        asked: list[str] = []

        async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
            addresses = answers[min(len(asked), len(answers) - 1)]
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        return asked

    return become


REFUSED = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
    168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1
    198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1
    64:ff9b::169.254.169.254 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8 64:ff9b:1:ffff::1 100::1 2001::1
    2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1
    2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1 4000::1 fc00::1 fd00:ec2::254 fe80::1
    fe80::1%1 fec0::1 ff02::1 2a00::1%1
"""
ALLOWED = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
    172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 64:ff9b::8.8.8.8
    2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111 2a00:1450::1 3ffe::1
"""


@pytest.mark.parametrize("address", REFUSED.split())
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    """Every network that is special, and every form that hides an IPv4 address, counts as not public."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ALLOWED.split())
def test_a_public_address_is_known(address: str) -> None:
    """The neighbours of special networks are public, and so is a public IPv4 address behind NAT64."""
    assert is_public(ip_address(address))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
@example(ip_address("64:ff9b::8.8.8.8"))
def test_no_public_address_is_special_to_python(address: IPv4Address | IPv6Address) -> None:
    """What the standard library calls private or special in any way is not public."""
    special = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_unspecified,
        address.is_reserved and address not in ip_network("64:ff9b::/96"),
    )
    assert not (is_public(address) and any(special))


@pytest.mark.parametrize(
    "url",
    [
        *("http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/"),
        *("http://127.0.0.1./", "http://127.0.0.0x1/", "http://①②⑦.0.0.1/", "http://1.2.3.4.5/", "http://%31/"),
        *(
            "http://user@host/",
            "http://user:hunter2@host/",
            "http://a.example\\@b.example/",
            "http://[fe80::1%25eth0]/",
        ),
        *("http://a\\.example/", "http://a..example/", "http://.example/", "http://-a.example/", "http://a b/"),
        *("ftp://host/", "file:///etc/passwd", "//host/", "host", "", " http://host/", "http:///", "http://[/"),
        *("http://host:0/", "http://host:70000/", "http://host:x/", "http://host/\n", f"http://{'a' * 64}/"),
        f"http://{'a.' * 127}a/",
        *(None, 7, b"http://host/"),
    ],
)
def test_a_malformed_url_is_refused(url: object) -> None:
    """A URL that different programs could read differently, or that is not http, is refused, and not repeated."""
    with pytest.raises(TargetRefusedError) as caught:
        Target.parse(url)
    assert "hunter2" not in caught.value.message
    assert not caught.value.retryable


def test_a_target_shows_its_host_alone() -> None:
    """Paths and parameters can be secrets, and stay out of what is shown."""
    target = Target.parse("https://Hooks.Bücher.example:8443/services/T0/hunter2?key=hunter2")
    assert (target.host, target.port) == ("hooks.xn--bcher-kva.example", 8443)
    assert "hunter2" not in repr(target)
    assert [Target.parse(url).port for url in ("http://a", "https://a", "http://[::1]")] == [80, 443, 80]


async def test_the_request_arrives_as_it_was_given() -> None:
    """Method, path, parameters, host, headers and body are those of the call; the address is not in them."""
    async with receiver() as seen:
        reply = await send(f"http://127.0.0.1:{seen.port}/a%2Fb/c?d=e%20f&g", x="1")
    assert reply == Reply(204, None)
    head, _, body = seen.requests[0].partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert first == "POST /a%2Fb/c?d=e%20f&g HTTP/1.1"
    assert sorted(headers) == ["Content-Length: 2", f"host: 127.0.0.1:{seen.port}", "x: 1"]
    assert body == b"{}"


async def test_a_name_is_sent_as_the_host(names: Callable[..., list[str]]) -> None:
    """The server sees the name that the URL has, though the connection goes to an address."""
    names(["127.0.0.1"])
    async with receiver() as seen:
        await send(f"http://hook.example:{seen.port}/")
    assert f"host: hook.example:{seen.port}\r\n".encode() in seen.requests[0]


async def test_loopback_is_refused_unless_allowed() -> None:
    """An address that is not public is not even connected to; a network that is allowed is."""
    async with receiver() as seen:
        for url in (f"http://127.0.0.1:{seen.port}/", f"http://localhost:{seen.port}/"):
            with pytest.raises(TargetRefusedError, match="not public"):
                await send(url, allowed=[])
        with pytest.raises(TargetRefusedError):
            await send(f"http://127.0.0.1:{seen.port}/", allowed=[ip_network("127.0.0.2/32")])
        with pytest.raises(TargetRefusedError):
            await send(f"http://[::ffff:127.0.0.1]:{seen.port}/")
        assert seen.connections == 0
        await send(f"http://127.0.0.1:{seen.port}/", allowed=[ip_network("127.0.0.0/8")])
        assert seen.connections == 1


async def test_a_name_with_one_bad_address_is_refused(names: Callable[..., list[str]]) -> None:
    """All the addresses of a name are checked, and not the first alone."""
    async with receiver() as seen:
        for addresses in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "8.8.8.8", "10.0.0.1"]):
            names(addresses)
            with pytest.raises(TargetRefusedError):
                await send(f"http://hook.example:{seen.port}/")
        assert seen.connections == 0


async def test_an_address_on_one_link_is_refused(names: Callable[..., list[str]]) -> None:
    """An address with a zone means a network card of this machine, and is refused though its network is allowed."""
    names(["fe80::1%1"])
    with pytest.raises(TargetRefusedError):
        await send("http://hook.example/", allowed=[ip_network("fe80::/10")])


async def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(
    names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers with a good address first, and a bad one next, is asked once."""
    async with receiver(host="127.0.0.2") as good, receiver(host="127.0.0.3", port=good.port) as bad:
        asked = names(["127.0.0.2"], ["127.0.0.3"])

        def blocking(host: str, port: int, *_: object, **__: object) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.3", port))]

        monkeypatch.setattr(socket, "getaddrinfo", blocking)
        await send(f"http://rebinding.example:{good.port}/", allowed=[ip_network("127.0.0.2/32")])
        assert (good.connections, bad.connections) == (1, 0)
        assert asked == ["rebinding.example"]
        with pytest.raises(TargetRefusedError):
            await send(f"http://rebinding.example:{good.port}/", allowed=[ip_network("127.0.0.2/32")])
        assert (good.connections, bad.connections) == (1, 0)


async def test_the_next_address_is_tried_when_one_refuses_connections(names: Callable[..., list[str]]) -> None:
    """A name with several addresses is reached when any of them can be, and once."""
    async with receiver(host="127.0.0.3") as seen:
        names(["127.0.0.2", "127.0.0.3", "127.0.0.4"])
        await send(f"http://hook.example:{seen.port}/", allowed=[ip_network("127.0.0.0/29")])
        assert len(seen.requests) == 1
        names(["127.0.0.2", "127.0.0.4"])
        with pytest.raises(UnreachableError, match="ConnectError"):
            await send(f"http://hook.example:{seen.port}/", allowed=[ip_network("127.0.0.0/29")])


async def test_a_broken_answer_is_not_asked_for_at_the_next_address(names: Callable[..., list[str]]) -> None:
    """Once a request was sent, it may have been acted on, and is not sent to another address."""
    async with receiver(b"", host="127.0.0.2") as first, receiver(host="127.0.0.3", port=first.port) as second:
        names(["127.0.0.2", "127.0.0.3"])
        with pytest.raises(UnreachableError, match="RemoteProtocolError"):
            await send(f"http://hook.example:{first.port}/", allowed=[ip_network("127.0.0.0/29")])
        assert (first.connections, second.connections) == (1, 0)


async def test_redirects_are_not_followed() -> None:
    """An answer that points elsewhere is the answer."""
    async with receiver() as inner:
        answer = f"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:{inner.port}/\r\ncontent-length: 0\r\n\r\n".encode()
        async with receiver(answer) as seen:
            assert (await send(f"http://127.0.0.1:{seen.port}/")).status == 307
    assert (len(seen.requests), inner.connections) == (1, 0)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect for us, to an address that nobody has checked."""
    async with receiver() as proxy, receiver() as seen:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await send(f"http://127.0.0.1:{seen.port}/")
    assert (proxy.connections, seen.connections) == (0, 1)


async def test_the_body_of_an_answer_is_not_waited_for() -> None:
    """An answer that never ends counts by its status, and the connection is closed."""
    closed = asyncio.Event()

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with receiver(endless) as seen:
        assert (await send(f"http://127.0.0.1:{seen.port}/")).status == 200
        async with asyncio.timeout(PATIENCE.total_seconds()):
            await closed.wait()


async def test_a_target_that_does_not_answer_is_given_up() -> None:
    """The time for a request covers the wait for an answer."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with receiver(silent) as seen:
        with pytest.raises(NoAnswerError, match=r"within 0\.05 s") as caught:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await send(f"http://127.0.0.1:{seen.port}/", within=timedelta(milliseconds=50))
    assert caught.value.retryable


async def test_a_look_up_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a request covers the name server."""

    async def getaddrinfo(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(NoAnswerError):
        async with asyncio.timeout(PATIENCE.total_seconds()):
            await send("http://hook.example/", within=timedelta(milliseconds=50))


async def test_a_name_that_is_not_known_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed look-up is a failure of the network."""

    async def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "hunter2")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(UnreachableError) as caught:
        await send("http://hook.example/")
    assert caught.value.retryable
    assert (caught.value.__cause__, caught.value.__context__, "hunter2" in str(caught.value)) == (None, None, False)


async def test_an_answer_that_is_not_http_is_a_failure() -> None:
    """What a server sends instead of HTTP fails the request, and is not repeated in the error."""
    async with receiver(b"hunter2 hunter2\r\n\r\n") as seen:
        with pytest.raises(UnreachableError) as caught:
            await send(f"http://127.0.0.1:{seen.port}/")
    assert caught.value.retryable
    assert caught.value.__context__ is None
    assert "hunter2" not in str(caught.value)


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither path nor headers nor body of a request reach a log, whatever its level."""
    caplog.set_level(logging.DEBUG)
    async with receiver() as seen:
        await send(f"http://127.0.0.1:{seen.port}/hunter2?a=hunter2", authorization="hunter2")
    with pytest.raises(UnreachableError):
        await send(f"http://127.0.0.1:{seen.port}/hunter2?a=hunter2", authorization="hunter2")
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(seconds=120)),
        ("86401", MAX_RETRY_AFTER),
        ("9" * 5000, MAX_RETRY_AFTER),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta(0)),
        ("Wed, 21 Oct 2015 07:28:00 -0000", timedelta(0)),
        ("Wed, 21 Oct 9999 07:28:00 GMT", MAX_RETRY_AFTER),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", MAX_RETRY_AFTER),
    ],
)
async def test_retry_after_is_read(value: str, wait: timedelta | None) -> None:
    """Seconds and dates are understood, up to a day; anything else is as if it were not there."""
    async with receiver(f"HTTP/1.1 503 No\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n".encode()) as seen:
        assert await send(f"http://127.0.0.1:{seen.port}/") == Reply(503, wait)


async def test_retry_after_may_be_a_date_to_come() -> None:
    """A date is turned into the time until then."""
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    async with receiver(f"HTTP/1.1 503 No\r\nretry-after: {at}\r\ncontent-length: 0\r\n\r\n".encode()) as seen:
        reply = await send(f"http://127.0.0.1:{seen.port}/")
    assert reply.retry_after is not None
    assert timedelta(seconds=40) < reply.retry_after <= timedelta(seconds=60)


def test_header_values_are_what_can_be_sent() -> None:
    """Line breaks and the like, which would begin another header or request, are no part of a value."""
    assert all(map(is_header_value, ("", "a", "Bearer a b", "a\tb", "~!")))
    assert not any(map(is_header_value, (" a", "a ", "a\n", "a\r\nb: c", "a\0", "\x7f", "ä", "a\u2028")))


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS for hook.example, whose certificate is trusted as long as the test lasts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hook.example"
    extensions = ["-addext", "subjectAltName=DNS:hook.example", "-addext", "keyUsage=digitalSignature,keyCertSign"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *extensions, *files], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture
def fresh_trust(certificate: ssl.SSLContext) -> Any:
    """Makes the trusted certificates be read anew, before and after a test."""
    _ssl_context.cache_clear()
    yield certificate
    _ssl_context.cache_clear()


async def test_tls_is_checked_for_the_name_and_not_for_the_address(
    fresh_trust: ssl.SSLContext, names: Callable[..., list[str]]
) -> None:
    """A certificate for the name in the URL is accepted, and asked for by that name; no other one is."""
    asked_for: list[str | None] = []
    fresh_trust.sni_callback = lambda _, name, __: asked_for.append(name)
    names(["127.0.0.1"])
    async with receiver(tls=fresh_trust) as seen:
        assert (await send(f"https://HOOK.example:{seen.port}/")).status == 204
        assert (await send(f"https://hook.example.:{seen.port}/")).status == 204
        assert asked_for == ["hook.example", "hook.example"]
        for host in ("other.example", "127.0.0.1"):
            with pytest.raises(UnreachableError):
                await send(f"https://{host}:{seen.port}/")
        assert len(seen.requests) == 2


async def test_a_certificate_that_nobody_trusts_is_refused(
    certificate: ssl.SSLContext, names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable that names it, a certificate that signed itself is worth nothing."""
    monkeypatch.delenv("SSL_CERT_FILE")
    _ssl_context.cache_clear()
    names(["127.0.0.1"])
    async with receiver(tls=certificate) as seen:
        with pytest.raises(UnreachableError, match="ConnectError"):
            await send(f"https://hook.example:{seen.port}/")
    assert seen.requests == []
