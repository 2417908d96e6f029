"""The messages of graphql-transport-ws, by a client that knows nothing of GraphQL, and the same faults over HTTP."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import httpx
import pytest
import strawberry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import WebSocketRoute
from strawberry.scalars import JSON
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi, graphql_routes
from gqlplugin.authentication.tokens import RunTokens
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.graphql.subscriptions import close_reason, fault_in
from gqlplugin.testing import MemoryPlatform
from tests.graphql.live import PATIENCE_SECONDS, events_of, graphql_served, streamed
from tests.graphql.shop import SECRET

pytestmark = pytest.mark.anyio

INIT = '{"type": "connection_init"}'
PING = '{"type": "ping"}'
TYPENAME = "{ __typename }"
UNICODE = 'Tee \u8336 \U0001f375 \u2028 \u0000 \\ " </script>'


class Waits:
    """The subscriptions that wait: how many have begun, and how many were left."""

    begun = 0
    left = 0


@strawberry.type
class Query:
    @strawberry.field
    def echo(self, text: str, times: int = 1) -> str:
        return text * times

    @strawberry.field
    def thing(self) -> JSON:
        return JSON({"value": object()})

    @strawberry.field
    def numbers(self) -> JSON:
        return JSON({"a": float("nan"), "b": [float("inf")]})


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def wait(self) -> AsyncIterator[int]:
        Waits.begun += 1
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            Waits.left += 1

    @strawberry.subscription
    async def break_down(self) -> AsyncIterator[int]:
        yield 1
        raise RuntimeError(SECRET)


@cache
def schema() -> strawberry.Schema:
    return create_schema(app(), query=Query, subscription=Subscription)


@cache
def app() -> App:
    return define_app("echoes")


def create_echoes(**options: Any) -> Starlette:
    return create_asgi(app(), MemoryPlatform(), schema=schema(), **options)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with graphql_served(create_echoes()) as url:
        yield url


@asynccontextmanager
async def opened(url: str, *messages: str | bytes) -> AsyncIterator[ClientConnection]:
    """A connection on which some messages were sent."""
    protocols: Any = ["graphql-transport-ws"]
    address = url.replace("http:", "ws:")
    async with connect(address, subprotocols=protocols, max_size=None, proxy=None) as connection:
        for message in messages:
            await connection.send(message)
        yield connection


def subscribe(id: object = "1", **payload: object) -> str:
    return json.dumps({"type": "subscribe", "id": id, "payload": payload})


async def until(is_so: Callable[[], bool]) -> None:
    """Return once something is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - what counts has no event
            await asyncio.sleep(0.005)


async def next_of(connection: ClientConnection) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return json.loads(await connection.recv())


async def answers(url: str, *messages: str | bytes) -> tuple[list[Any], int | None]:
    """What comes after some messages: until the server closes, with its code; else until it answers a ping."""
    got: list[Any] = []
    async with opened(url, *messages) as connection:
        try:
            await connection.send(PING)
            while (message := await next_of(connection)) != {"type": "pong"}:
                got.append(message)
        except ConnectionClosed:
            return got, connection.close_code
    return got, None


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["{"], 4400),
        (["not json"], 4400),
        (["[]"], 4400),
        (["null"], 4400),
        (['"ping"'], 4400),
        (["{}"], 4400),
        (['{"type": 3}'], 4400),
        (['{"type": "unknown"}'], 4400),
        (['{"type": "\\ud800"}'], 4400),
        (['{"type": "' + "x" * 1000 + '"}'], 4400),
        (['{"type": "ping", "payload": NaN}'], 4400),
        (['{"type": "ping", "payload": 3}'], 4400),
        (["[" * 100_000], 4400),
        ([INIT.encode()], 4400),
        (['{"type": "connection_init", "payload": []}'], 4400),
        ([INIT, '{"type": "start", "id": "1", "payload": {"query": "{ __typename }"}}'], 4400),
        ([INIT, '{"type": "complete"}'], 4400),
        ([INIT, '{"type": "complete", "id": []}'], 4400),
        ([INIT, '{"type": "subscribe", "id": "1"}'], 4400),
        ([INIT, '{"type": "subscribe", "id": "1", "payload": null}'], 4400),
        ([INIT, '{"type": "subscribe", "payload": {"query": "{ __typename }"}}'], 4400),
        ([INIT, subscribe(id=1, query=TYPENAME)], 4400),
        ([INIT, subscribe(id=[], query=TYPENAME)], 4400),
        ([INIT, subscribe(id="", query=TYPENAME)], 4400),
        ([INIT, subscribe()], 4400),
        ([INIT, subscribe(query=3)], 4400),
        ([INIT, subscribe(query=[TYPENAME])], 4400),
        ([INIT, subscribe(query=TYPENAME, variables=[])], 4400),
        ([INIT, subscribe(query=TYPENAME, operationName=3)], 4400),
        ([INIT, subscribe(query=TYPENAME, extensions="{}")], 4400),
        ([subscribe(query=TYPENAME)], 4401),
        ([INIT, subscribe(query="subscription { wait }"), subscribe(query=TYPENAME)], 4409),
        ([INIT, subscribe(id="i" * 500, query="subscription { wait }"), subscribe(id="i" * 500, query="{ a }")], 4409),
        ([INIT, INIT], 4429),
        (["x" * (Limits().max_body_bytes + 1)], 1009),
    ],
)
async def test_a_breach_of_the_protocol_closes_the_connection(
    url: str, messages: Sequence[str | bytes], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With the code that the protocol has for it, and without an entry in the log that operators would look at."""
    _, closed = await answers(url, *messages)
    assert closed == code
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "message",
    [
        PING,
        '{"type": "pong"}',
        '{"type": "ping", "payload": {"sent": 1}}',
        '{"type": "ping", "payload": null, "more": 1}',
        '{"type": "complete", "id": "of nothing"}',
        '{"type": "connection_init", "payload": null}',
    ],
)
async def test_what_the_protocol_allows_keeps_the_connection(url: str, message: str) -> None:
    """Pings are answered, also before `connection_init`; the rest needs no answer, or has its own."""
    got, closed = await answers(url, message)
    assert closed is None
    assert got in ([], [{"type": "connection_ack"}])


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """4408, once the time for `connection_init` is over."""
    route, *others = reversed(graphql_routes(app(), MemoryPlatform(), schema=schema()))
    assert isinstance(route, WebSocketRoute)
    endpoint: Any = route.endpoint
    assert endpoint.connection_init_wait_timeout <= timedelta(minutes=1)
    endpoint.connection_init_wait_timeout = timedelta(milliseconds=20)
    async with graphql_served(Starlette(routes=[route, *others])) as url, opened(url) as connection:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await connection.wait_closed()
        assert connection.close_code == 4408


async def test_operations_run_beside_each_other(url: str) -> None:
    """While a subscription waits, others are answered; an ID is free again once its operation has ended."""
    async with opened(url, INIT, subscribe("wait", query="subscription { wait }")) as connection:
        assert (await next_of(connection))["type"] == "connection_ack"
        assert (await next_of(connection))["payload"]["data"] == {"wait": 1}
        for text in ("one", "two"):
            await connection.send(subscribe(query="query ($t: String!) { echo(text: $t) }", variables={"t": text}))
            assert (await next_of(connection))["payload"] == {"data": {"echo": text}}
            assert await next_of(connection) == {"id": "1", "type": "complete"}


async def test_a_client_completes_a_subscription(url: str) -> None:
    """It ends on the server, nothing more comes of it, and its ID is free."""
    left = Waits.left
    async with opened(url, INIT, subscribe(query="subscription { wait }")) as connection:
        assert (await next_of(connection))["type"] == "connection_ack"
        assert (await next_of(connection))["type"] == "next"
        await connection.send('{"type": "complete", "id": "1"}')
        await connection.send(subscribe(query=TYPENAME))
        assert (await next_of(connection))["payload"] == {"data": {"__typename": "Query"}}
        await until(lambda: Waits.left > left)


async def test_a_client_that_leaves_ends_its_subscriptions(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Also when it says nothing; and that is no error."""
    begun, left = Waits.begun, Waits.left
    async with opened(url, INIT, *(subscribe(str(n), query="subscription { wait }") for n in range(5))) as connection:
        await until(lambda: Waits.begun >= begun + 5)
        connection.transport.abort()
    await until(lambda: Waits.left >= left + 5)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": ""}, "BAD_REQUEST"),
        ({"query": "fragment F on Query { __typename }"}, "OPERATION_RESOLUTION_FAILURE"),
        ({"query": TYPENAME, "operationName": "Other"}, "OPERATION_RESOLUTION_FAILURE"),
        ({"query": "query ($t: String!) { echo(text: $t) }", "variables": {"t": 3}}, "BAD_USER_INPUT"),
        ({"query": TYPENAME + " " * Limits().max_query_characters}, "LIMIT_EXCEEDED"),
        ({"query": "{ __schema { queryType { name } } }"}, "INTROSPECTION_DISABLED"),
    ],
)
async def test_a_refused_operation_is_answered(
    url: str, payload: dict[str, Any], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Over a WebSocket and as events the client learns why, and the connection stays."""
    async with opened(url, INIT, subscribe(**payload)) as connection:
        assert (await next_of(connection))["type"] == "connection_ack"
        message = await next_of(connection)
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert [error["extensions"]["code"] for error in errors] == [code]
        await connection.send(PING)
        assert (await next_of(connection))["type"] in ("pong", "complete")
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        response = await http.post(url, json=payload, headers={"accept": "text/event-stream"})
    assert [error["extensions"]["code"] for error in _errors_in(response.text)] == [code]
    assert response.text.endswith("event: complete\r\ndata: \r\n\r\n")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def _errors_in(events: str) -> Any:
    [data] = [line.removeprefix("data: ") for line in events.splitlines() if line.startswith("data: {")]
    return json.loads(data)["errors"]


async def test_a_run_token_is_told_what_it_may_not() -> None:
    """What it is refused before anything runs is answered on streams as well."""
    tokens = RunTokens("a-secret-of-thirty-two-characters")
    token = tokens.issue("00000000-0000-4000-8000-000000000000")
    init = json.dumps({"type": "connection_init", "payload": {"authorization": token}})
    async with graphql_served(create_echoes(run_tokens=tokens)) as url:
        async with opened(url, init, subscribe(query='{ echo(text: "a") }')) as connection:
            assert (await next_of(connection))["type"] == "connection_ack"
            message = await next_of(connection)
        async with streamed(url, '{ echo(text: "a") }', authorization=f"Bearer {token}") as response:
            events = [data async for name, data in events_of(response) if name == "next"]
    [error] = message["payload"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert events == [{"errors": [error]}]


async def test_an_error_in_the_middle_is_masked_and_ends_the_stream(url: str) -> None:
    """What came before it stays; the client sees an ID of the log and not the error."""
    query = "subscription { breakDown }"
    async with opened(url, INIT, subscribe(query=query)) as connection:
        got = [await next_of(connection) for _ in range(4)]
    async with streamed(url, query) as response:
        events = [event async for event in events_of(response)]
    assert [message["type"] for message in got[1:]] == ["next", "next", "complete"]
    assert [name for name, _ in events] == ["next", "next", "complete"]
    for first, second in ((got[1]["payload"], got[2]["payload"]), (events[0][1], events[1][1])):
        assert first == {"data": {"breakDown": 1}}
        assert second["errors"][0]["message"] == "Internal error"
    assert "hunter2" not in json.dumps([got, events])


async def test_texts_of_any_kind_and_length_arrive(url: str) -> None:
    """Over every transport: Unicode, control characters, and answers of megabytes."""
    query = "query ($text: String!, $times: Int!) { echo(text: $text, times: $times) }"
    times = 50_000  # within the limit of a message
    variables = {"text": UNICODE, "times": times}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        by_post = (await http.post(url, json={"query": query, "variables": variables})).json()
    async with opened(url, INIT, subscribe(query=query, variables=variables)) as connection:
        assert (await next_of(connection))["type"] == "connection_ack"
        over_socket = (await next_of(connection))["payload"]
    async with streamed(url, query, variables) as response:
        await response.aread()
    data = response.text.partition("data: ")[2].partition("\r\n")[0]
    assert by_post == over_socket == json.loads(data) == {"data": {"echo": UNICODE * times}}


async def test_numbers_that_json_lacks_are_null_everywhere(url: str) -> None:
    """As `JSON.stringify` has it: a browser could not read the answer otherwise."""

    def read(text: str | bytes) -> Any:
        return json.loads(text, parse_constant=pytest.fail)

    query, expected = "{ numbers }", {"data": {"numbers": {"a": None, "b": [None]}}}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        assert read((await http.post(url, json={"query": query})).text) == expected
    async with opened(url, INIT, subscribe(query=query)) as connection:
        await connection.recv()
        assert read(await connection.recv())["payload"] == expected
    async with streamed(url, query) as response:
        await response.aread()
    assert read(response.text.partition("data: ")[2].partition("\r\n")[0]) == expected


async def test_an_answer_that_is_not_json_is_an_internal_error(url: str) -> None:
    """On streams as by POST, and the stream goes on to its end."""
    query = "{ thing }"
    async with opened(url, INIT, subscribe(query=query)) as connection:
        _, answer, end = [await next_of(connection) for _ in range(3)]
    async with streamed(url, query) as response:
        (name, event), (last, _) = [event async for event in events_of(response)]
    assert (end["type"], name, last) == ("complete", "next", "complete")
    for given in (answer["payload"], event):
        assert given["errors"][0]["extensions"]["code"] == "INTERNAL"


async def test_old_and_odd_clients_of_http_are_answered(url: str) -> None:
    """HTTP/1.0, a request in pieces, no `Accept`, and methods that are not served."""
    body = json.dumps({"query": TYPENAME}).encode()
    head = b"POST /graphql HTTP/%s\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\n"
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    requests = {
        b"HTTP/1.0": (head % (b"1.0", b"Content-Length: %d\r\n" % len(body)) + body, b" 200 "),
        b"in pieces": (head % (b"1.1", b"Connection: close\r\nTransfer-Encoding: chunked\r\n") + chunked, b" 200 "),
        b"no body": (head % (b"1.1", b"Connection: close\r\n"), b" 400 "),
        b"HEAD": (b"HEAD /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b" 405 "),
        b"OPTIONS": (b"OPTIONS /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b" 405 "),
    }
    address = httpx.URL(url)
    assert address.port is not None
    for name, (request, status) in requests.items():
        reader, writer = await asyncio.open_connection(address.host, address.port, family=socket.AF_INET)
        writer.write(request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        first, _, rest = answer.partition(b"\r\n")
        assert status in first, name
        if status == b" 200 ":
            assert rest.endswith(b'{"data":{"__typename":"Query"}}'), name


async def test_answers_may_be_compressed_by_a_middleware_and_streams_are_not() -> None:
    """Each event of a stream arrives at once, also through Starlette's `GZipMiddleware`."""
    asgi = create_echoes(middleware=[Middleware(GZipMiddleware, minimum_size=10)])
    async with graphql_served(asgi) as url:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
            answer = await http.post(url, json={"query": '{ echo(text: "a", times: 1000) }'})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.json()["data"]["echo"] == "a" * 1000
        async with streamed(url, "subscription { wait }") as response:
            assert "content-encoding" not in response.headers
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await anext(events_of(response)) == ("next", {"data": {"wait": 1}})


@pytest.mark.parametrize("text", ["short", "\U0001f375" * 100, "a" * 122 + "\u8336", "\ud800 half of a pair"])
def test_a_reason_fits_into_a_close_frame(text: str) -> None:
    """Whole characters in UTF-8, 123 bytes at most."""
    reason = close_reason(text)
    assert len(reason.encode()) <= 123
    assert text.startswith(reason) or "\ud800" in text


def test_the_reason_names_what_is_wrong() -> None:
    """With the field's path, and without repeating what was sent."""
    message = {"type": "subscribe", "id": "1", "payload": {"query": {"secret": SECRET}}}
    assert fault_in(message) == "`payload.query`: Input should be a valid string"
    assert fault_in({"type": SECRET}) == "This is no message that a client may send"
    assert fault_in({"type": "subscribe", "id": "1", "payload": 3}) == "`payload`: Input should be an object"
    assert fault_in({"type": "ping"}) is None
