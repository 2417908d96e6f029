"""The URL under which clients reach the server."""

import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from gqlplugin.errors import InvalidInputError
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.platform.tailor.server.serving import PublicUrl
from gqlplugin.testing import MemoryPlatform
from tests.platform.tailor.server.support import TOKEN, Client, Shop, http_client, serving, shop_server

LAN = ("10.0.0.5", 8080)
LOOPBACK = ("127.0.0.1", 8080)
HTTPS = {"x-forwarded-proto": "https"}


def scope_of(headers: dict[str, str], **more: Any) -> dict[str, Any]:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "scheme": "http", "server": LAN, "client": ("10.0.0.7", 4711), "headers": encoded, **more}


@pytest.mark.parametrize(
    ("headers", "more", "expected"),
    [
        ({}, {}, "http://10.0.0.5:8080"),
        ({"host": "shop.example"}, {}, "http://10.0.0.5:8080"),
        ({"host": "shop.example"}, {"server": LOOPBACK}, "http://127.0.0.1:8080"),
        ({"host": "localhost:9000"}, {}, "http://localhost:9000"),
        ({"host": "127.0.0.1:9000"}, {}, "http://127.0.0.1:9000"),
        ({"host": "[::1]:9000"}, {}, "http://[::1]:9000"),
        ({}, {"server": ("::1", 8080)}, "http://[::1]:8080"),
        ({}, {"server": ("10.0.0.5", 80)}, "http://10.0.0.5"),
        ({}, {"server": ("tailor.test", None)}, "http://tailor.test"),
        ({}, {"server": ("/run/shop.sock", None)}, ""),
        ({}, {"server": None}, ""),
        ({"host": "shop.example"}, {"scheme": "https"}, "https://shop.example"),
        ({}, {"scheme": "https", "server": ("10.0.0.5", 443)}, "https://10.0.0.5"),
        ({"host": "localhost:9000"}, {"root_path": "/operator/"}, "http://localhost:9000/operator"),
        ({"host": "a/b"}, {}, ""),
        ({"host": "user@localhost"}, {}, ""),
        ({"host": "[1.2]"}, {}, ""),
        ({"host": "localhost:99999"}, {}, ""),
    ],
)
def test_without_a_proxy(headers: dict[str, str], more: dict[str, Any], expected: str) -> None:
    """The URL is the server's own address, unless the client used https or an address of its own machine."""
    assert PublicUrl("", ()).of(scope_of(headers, **more)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "shop.example", **HTTPS}, "https://shop.example"),
        ({"host": "10.0.0.5", "x-forwarded-host": "shop.example", **HTTPS}, "https://shop.example"),
        (
            {"x-forwarded-host": "evil.example, shop.example", "x-forwarded-proto": "http, HTTPS"},
            "https://shop.example",
        ),
        ({"host": "shop.example", "x-forwarded-proto": "http"}, "http://shop.example"),
        ({"host": "shop.example", "x-forwarded-proto": "ftp"}, "http://10.0.0.5:8080"),
        ({"host": "shop.example"}, "http://10.0.0.5:8080"),
        ({"x-forwarded-host": "a/b", **HTTPS}, ""),
    ],
)
@pytest.mark.parametrize(
    ("trusted", "client"),
    [
        (["10.0.0.7"], ("10.0.0.7", 1)),
        (["192.0.2.1", "10.0.0.0/8"], ("10.0.0.7", 1)),
        (["10.0.0.7"], ("::ffff:10.0.0.7", 1)),
        (["*"], None),
    ],
)
def test_behind_a_trusted_proxy(
    trusted: list[str], client: tuple[str, int] | None, headers: dict[str, str], expected: str
) -> None:
    """The URL is the one that the proxy reports, of several values the last."""
    assert PublicUrl("", trusted).of(scope_of(headers, client=client)) == expected


@pytest.mark.parametrize(("server", "expected"), [(LAN, ""), (LOOPBACK, "http://127.0.0.1:8080")])
@pytest.mark.parametrize("trusted", [[], ["10.0.0.8", "192.0.2.0/24"]])
def test_behind_another_proxy(
    trusted: list[str], server: tuple[str, int], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that is not trusted can't set the URL; what it says came by https gets no http URL of the network."""
    url = PublicUrl("", trusted)
    for _ in range(2):
        scope = scope_of({"host": "shop.example", "x-forwarded-host": "evil.example", **HTTPS}, server=server)
        assert url.of(scope) == expected
    [record] = caplog.records
    assert (record.name, record.levelno) == ("gqlplugin.tailor.server", logging.WARNING)
    assert "--forwarded-allow-ips 10.0.0.7" in record.getMessage()


def test_a_url_that_is_given() -> None:
    """A URL that was given holds whatever a request says."""
    url = PublicUrl("https://shop.example:8443/base/", ["*"])
    scope = scope_of({"host": "evil.example", "x-forwarded-proto": "http"}, root_path="/operator")
    assert url.of(scope) == "https://shop.example:8443/base"


@pytest.mark.parametrize("trusted", ["proxy", "10.0.0.0/33", "", "10.0.0.1:80"])
def test_malformed_proxies(trusted: str) -> None:
    """A proxy is an address or a network."""
    with pytest.raises(InvalidInputError, match="A trusted proxy must be"):
        create_server(Shop().app, MemoryPlatform(), token=TOKEN, trusted_proxies=[trusted])


@pytest.mark.anyio
@pytest.mark.parametrize("http2", [False, True])
async def test_over_the_wire(http2: bool) -> None:
    """A trusted proxy's headers reach the application's URL over both HTTP versions."""
    async with (
        shop_server(trusted_proxies=["127.0.0.1"]) as served,
        http_client(served.port, http2=http2) as http,
    ):
        headers = {"x-forwarded-host": "shop.example", **HTTPS}
        [application] = (await Client(http).ok("ListApplications", headers=headers))["applications"]
    assert (application["url"], application["domain"]) == ("https://shop.example", "shop.example")


@pytest.mark.anyio
async def test_within_another_app() -> None:
    """The URL of a server that is mounted leads to its own token endpoint."""
    server = create_server(Shop().app, MemoryPlatform(), token=TOKEN)
    outer = Starlette(routes=[Mount("/operator", server)], lifespan=server.router.lifespan_context)
    async with serving(outer) as port, http_client(port) as http:
        http.base_url = http.base_url.join("/operator")
        [application] = (await Client(http).ok("ListApplications"))["applications"]
        assert application["url"] == f"http://127.0.0.1:{port}/operator"
        answer = await http.post(f"{application['url']}/oauth2/token", data={"grant_type": "client_credentials"})
    assert answer.json()["error"] == "invalid_client"
