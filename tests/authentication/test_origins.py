"""Which web pages may use the endpoint: what may be listed, and what browsers are told (CORS)."""

import httpx
import pytest

from gqlplugin.asgi import create_asgi
from gqlplugin.errors import DefinitionError
from gqlplugin.testing import MemoryPlatform, serve
from tests.graphql.shop import define_shop, shop_schema

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example"


async def ask(method: str, origin: str, allowed: list[str], path: str = "/graphql", **headers: str) -> httpx.Response:
    asgi = create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), allowed_origins=allowed)
    async with serve(asgi) as client:
        sent = {"origin": origin, "content-type": "application/json", **headers}
        return await client.http.request(method, path, content=b'{"query": "{ whoAmI }"}', headers=sent)


def preflight(headers: str = "authorization,content-type,idempotency-key", method: str = "POST") -> dict[str, str]:
    return {"access-control-request-method": method, "access-control-request-headers": headers}


async def test_a_listed_page_may_send_requests() -> None:
    """With the headers that clients need and with cookies; its origin is named, and caches are told."""
    response = await ask("OPTIONS", SHOP, [SHOP, "http://127.0.0.1:3000"], **preflight())
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == SHOP
    assert response.headers["access-control-allow-methods"] == "POST"
    assert response.headers["access-control-allow-credentials"] == "true"
    answer = await ask("POST", SHOP, [SHOP])
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example"]
)
async def test_other_pages_are_not_told_that_they_may(origin: str) -> None:
    """Neither in the preflight nor in an answer, which browsers then withhold."""
    refused = await ask("OPTIONS", origin, [SHOP], **preflight())
    answer = await ask("POST", origin, [SHOP])
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in {**refused.headers, **answer.headers}


async def test_null_may_be_listed() -> None:
    """Then, and only then, pages without an origin are told so."""
    assert (await ask("POST", "null", ["null"])).headers["access-control-allow-origin"] == "null"


@pytest.mark.parametrize("asked", [preflight("x-else"), preflight(method="DELETE"), preflight(method="GET")])
async def test_other_headers_and_methods_are_not_allowed(asked: dict[str, str]) -> None:
    """Those of the endpoint alone are."""
    assert (await ask("OPTIONS", SHOP, [SHOP], **asked)).status_code == 400


async def test_without_a_list_nothing_is_said_of_origins() -> None:
    """Browsers then keep all other pages away."""
    answer = await ask("POST", SHOP, [])
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_other_routes_say_nothing() -> None:
    """The list is for the GraphQL endpoint alone."""
    answer = await ask("GET", SHOP, [SHOP], path="/elsewhere")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("https://a.example/", "write 'https://a.example'"),
        ("https://a.example/app?x=1", "write 'https://a.example'"),
        ("HTTPS://A.example:443", "write 'https://a.example'"),
        ("https://b\u00fccher.example", "write 'https://xn--bcher-kva.example'"),
        ("a.example", "write each origin by itself, such as 'https://shop.example'"),
        ("*.example", "write each origin by itself"),
        ("https://*.example", "write each origin by itself"),
        ("*", "write each origin by itself"),
        ("ftp://a.example", "write each origin by itself"),
        ("", "write each origin by itself"),
        ("https://[", "write each origin by itself"),
    ],
)
def test_what_is_no_origin_is_refused_with_what_to_write(given: str, advice: str) -> None:
    """Browsers send nothing else, so it would allow nothing, or too much."""
    with pytest.raises(DefinitionError, match="allowed_origins= has") as caught:
        create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), allowed_origins=[given])
    assert advice in str(caught.value)


def test_a_text_is_no_list() -> None:
    """A forgotten bracket would be a list of letters."""
    with pytest.raises(DefinitionError, match=r"write \['https://a.example'\]"):
        create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), allowed_origins="https://a.example")
