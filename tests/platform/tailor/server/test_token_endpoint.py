"""Where machine users get their tokens."""

import base64
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gqlplugin.platform.tailor.server.served import MachineUserTokens, OperatorToken
from tests.platform.tailor.server.support import TOKEN, Served, http_client, shop_server

pytestmark = pytest.mark.anyio

GRANT = {"grant_type": "client_credentials"}


async def credentials(served: Served, name: str = "manager") -> tuple[str, str]:
    message = {"authNamespace": "my-auth", "name": name}
    user = (await served.client.ok("GetAuthMachineUser", message))["machineUser"]
    return user["clientId"], user["clientSecret"]


async def ask(served: Served, data: Any = None, **more: Any) -> httpx.Response:
    async with http_client(served.port, token="") as http:
        return await http.post("/oauth2/token", data=data, **more)


def escaped(text: str) -> str:
    """The text as a client may send it that escapes more than it has to."""
    return "".join(f"%{letter:02X}" for letter in text.encode())


def basic(identifier: str, secret: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{escaped(identifier)}:{escaped(secret)}".encode()).decode()
    return {"authorization": f"Basic {encoded}"}


@pytest.mark.parametrize("place", ["form", "header", "header and name"])
async def test_token(served: Served, place: str) -> None:
    """A client that authenticates, in the form or by HTTP Basic, gets its machine user's token for an hour."""
    identifier, secret = await credentials(served)
    if place == "form":
        response = await ask(served, {**GRANT, "client_id": identifier, "client_secret": secret})
    else:
        form = GRANT if place == "header" else {**GRANT, "client_id": identifier}
        response = await ask(served, form, headers=basic(identifier, secret))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    shop_tokens = MachineUserTokens(OperatorToken(TOKEN), served.shop.app.auth, timedelta(hours=1))
    assert shop_tokens.verify(body["access_token"]) == ("my-auth", "manager")


async def test_lifetime() -> None:
    """The lifetime is the server's to say."""
    async with shop_server(token_lifetime=timedelta(minutes=2)) as served:
        identifier, secret = await credentials(served)
        response = await ask(served, {**GRANT, "client_id": identifier, "client_secret": secret})
    assert response.json()["expires_in"] == 120


@pytest.mark.parametrize("place", ["form", "header"])
async def test_wrong_clients(served: Served, place: str) -> None:
    """A secret is its own client's only; wrong and missing ones get the same answer."""
    identifier, secret = await credentials(served)
    other, _ = await credentials(served, "clerk")
    answers = []
    for wrong in [(identifier, secret[:-1]), (other, secret), (identifier, ""), ("", ""), ("nobody", "nothing")]:
        if place == "form":
            answer = await ask(served, {**GRANT, "client_id": wrong[0], "client_secret": wrong[1]})
        else:
            answer = await ask(served, GRANT, headers=basic(*wrong))
        assert answer.status_code == 401
        assert answer.headers.get("www-authenticate") == ("Basic" if place == "header" else None)
        assert secret[:-1] not in answer.text
        answers.append(answer.json())
    assert {answer["error"] for answer in answers} == {"invalid_client"}
    assert all(answer == answers[0] for answer in answers)


BAD_REQUESTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no grant type": ({"data": {"client_id": "a", "client_secret": "b"}}, 400, "invalid_request"),
    "another grant type": ({"data": {"grant_type": "password"}}, 400, "unsupported_grant_type"),
    "empty grant type": ({"data": {"grant_type": ""}}, 400, "unsupported_grant_type"),
    "no client": ({"data": GRANT}, 401, "invalid_client"),
    "JSON": ({"json": GRANT}, 400, "invalid_request"),
    "plain text": (
        {"content": b"grant_type=client_credentials", "headers": {"content-type": "text/plain"}},
        400,
        "invalid_request",
    ),
    "no body": ({}, 400, "invalid_request"),
    "twice": ({"data": {"grant_type": ["client_credentials"] * 2}}, 400, "invalid_request"),
    "too large": ({"data": {**GRANT, "x": "x" * 20_000}}, 400, "invalid_request"),
    "not ASCII": (
        {"content": b"grant_type=\xff", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        400,
        "invalid_request",
    ),
    "two ways at once": (
        {"data": {**GRANT, "client_id": "a", "client_secret": "b"}, "headers": basic("a", "b")},
        400,
        "invalid_request",
    ),
    "another scheme": ({"data": GRANT, "headers": {"authorization": "Bearer abc"}}, 401, "invalid_client"),
    "not base64": ({"data": GRANT, "headers": {"authorization": "Basic ???"}}, 401, "invalid_client"),
    "no colon": ({"data": GRANT, "headers": {"authorization": "Basic YWJj"}}, 401, "invalid_client"),
}


@pytest.mark.parametrize("kind", BAD_REQUESTS)
async def test_bad_requests(served: Served, kind: str) -> None:
    """A request that is wrong gets the error that RFC 6749 (section 5.2) has for it."""
    request, status, error = BAD_REQUESTS[kind]
    response = await ask(served, **request)
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.json()["error_description"].endswith(".")
    assert response.headers["cache-control"] == "no-store"


async def test_only_by_post(served: Served) -> None:
    """A token is not asked for in a URL, where it would be logged."""
    async with http_client(served.port) as http:
        response = await http.get("/oauth2/token")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
