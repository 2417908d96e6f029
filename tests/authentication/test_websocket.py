"""Callers of WebSockets: known by `connection_init`, gone when their token expires."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import strawberry
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gqlplugin.asgi import create_asgi
from gqlplugin.authentication.callers import Authenticated, AuthRequest
from gqlplugin.authentication.jwt import JWTAuthenticator
from gqlplugin.authentication.tokens import RunTokens
from gqlplugin.errors import (
    AuthenticationUnavailableError,
    ForbiddenError,
    GqlpluginError,
    UnauthenticatedError,
)
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import User
from gqlplugin.testing import MemoryPlatform
from tests.authentication.support import AUDIENCE, ISSUER, SECRET, token
from tests.graphql.shop import define_shop, shop_schema
from tests.loopback import uvicorn_serving

pytestmark = pytest.mark.anyio

WHO = "{ whoAmI }"
ended: list[str] = []


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("ticks")


def shop(**more: Any) -> ASGIApp:
    return create_asgi(define_shop(), MemoryPlatform(), schema=more.pop("schema", shop_schema()), **more)


class Client:
    """A client of graphql-transport-ws."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> Any:
        async with asyncio.timeout(60):
            return json.loads(await self.connection.recv())

    async def init(self, payload: object = None) -> Any:
        await self.send(type="connection_init", **({} if payload is None else {"payload": payload}))
        return await self.receive()

    async def run(self, query: str, **variables: Any) -> Any:
        await self.send(type="subscribe", id="1", payload={"query": query, "variables": variables})
        answer = await self.receive()
        if answer["type"] == "next":
            await self.receive()
        return answer["payload"]

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close that comes next."""
        try:
            raise AssertionError(f"It is open: {await self.receive()}")
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


@asynccontextmanager
async def connected(
    asgi: ASGIApp, headers: Sequence[tuple[str, str]] = (), origin: str | None = None
) -> AsyncIterator[Client]:
    async with (
        uvicorn_serving(asgi) as url,
        connect(
            f"ws{url.removeprefix('http')}/graphql",
            subprotocols=["graphql-transport-ws"],  # type: ignore[list-item] # a NewType of str
            additional_headers=list(headers),
            origin=origin,  # type: ignore[arg-type] # a NewType of str
            proxy=None,
        ) as connection,
    ):
        yield Client(connection)


@pytest.mark.parametrize(
    "payload",
    [
        {"authorization": "{token}"},
        {"authorization": "Bearer {token}"},
        {"Authorization": "bearer  {token}"},
        {"authorization": "{token}", "Authorization": "{token}"},
    ],
)
async def test_the_payload_of_connection_init_names_the_caller(payload: dict[str, str]) -> None:
    """With and without the word Bearer; all operations of the WebSocket are this caller's."""
    made = {name: text.format(token=token()) for name, text in payload.items()}
    async with connected(shop(authenticate=JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, secret=SECRET))) as one:
        assert await one.init(made) == {"type": "connection_ack"}
        for _ in range(2):
            assert (await one.run(WHO))["data"] == {"whoAmI": "ann"}


async def test_the_header_of_the_handshake_counts_first() -> None:
    """Clients that can send one need no payload."""
    authenticate = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, secret=SECRET)
    headers = [("authorization", f"Bearer {token(sub='bob')}")]
    async with connected(shop(authenticate=authenticate), headers) as one:
        await one.init({"authorization": token()})
        assert (await one.run(WHO))["data"] == {"whoAmI": "bob"}


async def test_the_caller_is_asked_for_once_and_with_the_payload() -> None:
    """Not at the handshake, where nothing is known yet, and not per operation."""
    asked: list[tuple[object, str | None]] = []

    async def authenticate(request: AuthRequest) -> User:
        asked.append((dict(request.init_payload), request.headers.get("x-here")))
        return User("ann", "user")

    async with connected(shop(authenticate=authenticate), [("x-here", "1")]) as one:
        assert asked == []
        await one.init({"tenant": "t"})
        await one.run(WHO)
        await one.run(WHO)
    assert asked == [({"tenant": "t"}, "1")]


async def test_without_authenticate_callers_are_anonymous() -> None:
    """Whatever they send."""
    async with connected(shop()) as one:
        await one.init({"authorization": "whatever"})
        assert (await one.run(WHO))["data"] == {"whoAmI": User().id}


def _raise(error: Exception) -> Callable[[AuthRequest], User]:
    def authenticate(request: AuthRequest) -> User:
        raise error

    return authenticate


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (UnauthenticatedError(), 4401, UnauthenticatedError().message),
        (ForbiddenError("Not \u00fc" + "x" * 200), 4403, "Not \u00fc" + "x" * 117),
        (AuthenticationUnavailableError(), 1013, AuthenticationUnavailableError().message),
        (RuntimeError("postgres://admin:hunter2@db"), 4500, "Internal error"),
    ],
)
async def test_a_refusal_closes_the_websocket(
    error: Exception, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the protocol's code, and a reason that fits in a close frame; what is unexpected is masked and logged."""
    async with connected(shop(authenticate=_raise(error))) as one:
        await one.send(type="connection_init")
        assert await one.closed() == (code, reason)
    unexpected = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(unexpected) == (0 if isinstance(error, GqlpluginError) else 1)


@pytest.mark.parametrize(
    "payload",
    [
        {"authorization": "garbage"},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer"},
        {"authorization": 7},
        {"authorization": ["Bearer x"]},
        {"authorization": "t\u00f6ken"},
        {"authorization": "one", "Authorization": "two"},
        {},
    ],
)
async def test_every_refusal_closes_alike(payload: dict[str, object]) -> None:
    """Missing, malformed and wrong tokens."""
    authenticate = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, required=True)
    async with connected(shop(authenticate=authenticate)) as one:
        await one.send(type="connection_init", payload=payload)
        assert await one.closed() == (4401, "This needs a caller: authenticate first.")


async def test_nothing_runs_before_connection_init() -> None:
    """An operation that comes first closes the WebSocket."""
    async with connected(shop(authenticate=_raise(UnauthenticatedError()))) as one:
        await one.send(type="subscribe", id="1", payload={"query": WHO})
        assert (await one.closed())[0] == 4401


async def test_a_run_scoped_token_follows_one_run() -> None:
    """As the payload of `connection_init` it opens what it opens over HTTP."""
    tokens = RunTokens(SECRET)
    async with connected(shop(run_tokens=tokens)) as one:
        await one.init({"authorization": tokens.issue("00000000-0000-4000-8000-000000000000")})
        run = "query ($id: ID!) { workflowRun(id: $id) { id } }"
        assert (await one.run(run, id="x"))["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
        assert (await one.run(WHO))[0]["extensions"] == {"code": "FORBIDDEN"}


async def test_a_run_scoped_token_subscribes_to_one_run() -> None:
    """`workflowRunUpdates` is open for the token's run; another one looks unknown."""
    tokens, platform = RunTokens(SECRET), MemoryPlatform()
    asgi = create_asgi(define_shop(), platform, schema=shop_schema(), run_tokens=tokens)
    async with connected(asgi) as one:
        mine, other = [
            await platform.start_workflow("order-processing", '{"orderId": "1"}', caller=User("ann", "user"))
            for _ in range(2)
        ]
        await one.init({"authorization": tokens.issue(mine)})
        follow = "subscription ($id: ID!) { workflowRunUpdates(id: $id) { run { id } } }"
        await one.send(type="subscribe", id="1", payload={"query": follow, "variables": {"id": mine}})
        assert (await one.receive())["payload"]["data"] == {"workflowRunUpdates": {"run": {"id": mine}}}
        while (await one.receive())["type"] != "complete":
            pass
        await one.send(type="subscribe", id="2", payload={"query": follow, "variables": {"id": other}})
        refused = await one.receive()
        errors = refused["payload"] if refused["type"] == "error" else refused["payload"]["errors"]
        assert errors[0]["extensions"] == {"code": "NOT_FOUND"}


@pytest.fixture(scope="module")
def ticking() -> strawberry.Schema:
    return create_schema(define_shop(), subscription=Subscription)


async def test_a_websocket_ends_with_its_token(ticking: strawberry.Schema, caplog: pytest.LogCaptureFixture) -> None:
    """Its subscriptions are ended and it is closed with 4401, without a word in the log."""
    ended.clear()

    def authenticate(request: AuthRequest) -> Authenticated:
        return Authenticated(User("ann", "user"), datetime.now(UTC) + timedelta(seconds=3))

    async with connected(shop(schema=ticking, authenticate=authenticate)) as one:
        await one.init()
        await one.send(type="subscribe", id="1", payload={"query": "subscription { ticks }"})
        assert (await one.receive())["payload"]["data"] == {"ticks": 1}
        assert ended == []
        assert await one.closed() == (4401, "This needs a caller: authenticate first.")
        assert ended == ["ticks"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_stream_over_http_ends_with_its_token(
    ticking: strawberry.Schema, caplog: pytest.LogCaptureFixture
) -> None:
    """Server-sent events end as well."""
    ended.clear()

    def authenticate(request: AuthRequest) -> Authenticated:
        return Authenticated(User("ann", "user"), datetime.now(UTC) + timedelta(seconds=3))

    async with (
        uvicorn_serving(shop(schema=ticking, authenticate=authenticate)) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as http,
        http.stream(
            "POST",
            "/graphql",
            json={"query": "subscription { ticks }"},
            headers={"accept": "text/event-stream"},
        ) as response,
    ):
        text = (await response.aread()).decode()
    assert '"ticks":1' in text.replace(" ", "")
    assert "event: complete" not in text
    assert ended == ["ticks"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_who_has_expired_already_is_refused() -> None:
    """An authenticator that says so needs not look at the time itself."""

    def authenticate(request: AuthRequest) -> Authenticated:
        return Authenticated(User("ann", "user"), datetime.now(UTC) - timedelta(seconds=1))

    async with connected(shop(authenticate=authenticate)) as one:
        await one.send(type="connection_init")
        assert (await one.closed())[0] == 4401


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shop.example", True),
        ("https://SHOP.example:443", True),
        ("http://shop.example", False),
        ("https://shop.example:8443", False),
        ("https://shop.example.evil.example", False),
        ("https://evil-shop.example", False),
        ("null", False),
        ("file://", False),
        (None, True),
    ],
)
async def test_pages_of_other_origins_are_refused_at_the_handshake(origin: str | None, allowed: bool) -> None:
    """Unless they are on the list; clients that are no browsers send no origin."""
    asgi = shop(allowed_origins=["https://shop.example"])
    if allowed:
        async with connected(asgi, origin=origin) as one:
            assert (await one.init())["type"] == "connection_ack"
    else:
        with pytest.raises(InvalidStatus) as caught:
            async with connected(asgi, origin=origin):
                pass
        assert caught.value.response.status_code == 403


async def test_the_null_origin_can_be_listed() -> None:
    """Which pages in files and sandboxes have."""
    async with connected(shop(allowed_origins=["null"]), origin="null") as one:
        assert (await one.init())["type"] == "connection_ack"


async def test_pages_of_the_endpoint_s_own_origin_need_no_list() -> None:
    """The page that the app serves itself."""
    async with (
        uvicorn_serving(shop()) as url,
        connect(
            f"ws{url.removeprefix('http')}/graphql",
            subprotocols=["graphql-transport-ws"],  # type: ignore[list-item] # a NewType of str
            origin=url,  # type: ignore[arg-type] # a NewType of str
            proxy=None,
        ) as connection,
    ):
        assert (await Client(connection).init())["type"] == "connection_ack"
