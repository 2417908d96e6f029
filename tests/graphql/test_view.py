"""GraphQL over HTTP and WebSocket: what is answered, and what is refused."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest
import strawberry
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message
from strawberry.schema.config import StrawberryConfig

from gqlplugin.asgi import create_asgi
from gqlplugin.auth import User
from gqlplugin.errors import ForbiddenError, PlatformUnavailableError, UnauthenticatedError
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from tests.graphql.conftest import authenticate
from tests.graphql.shop import SECRET, define_shop, shop_schema

pytestmark = pytest.mark.anyio


PLACE = 'mutation { placeOrder(orderId: "1") { runId } }'


GRAPHQL_RESPONSE = "application/graphql-response+json"


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


@pytest.fixture
async def client(platform: MemoryPlatform) -> AsyncIterator[GraphQLClient]:
    async with serve(create_asgi(define_shop(), platform, schema=shop_schema(), authenticate=authenticate)) as client:
        yield client


async def post(client: GraphQLClient, body: bytes, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.http.post("/graphql", content=body, headers={"content-type": "application/json", **given})


def refusal(response: httpx.Response) -> tuple[int, str]:
    """The status and code of a response that must be JSON errors without data."""
    body = response.json()
    assert list(body) == ["errors"]
    return response.status_code, body["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"3",
        b"null",
        b"[]",
        b'"query"',
        b"{",
        b"not json",
        b"\xff\xfe",
        b'{"query": "\xff"}',
        b"{}",
        b'{"qeury": "{ whoAmI }"}',
        b'{"query": null}',
        b'{"query": ""}',
        b'{"query": 3}',
        b'{"query": ["{ whoAmI }"]}',
        b'{"query": "{ whoAmI }", "variables": []}',
        b'{"query": "{ whoAmI }", "variables": "{}"}',
        b'{"query": "{ whoAmI }", "operationName": 1}',
        b'{"query": "{ whoAmI }", "extensions": 1}',
        b'{"query": "{ whoAmI }", "variables": {"x": NaN}}',
        b'{"query": "{ whoAmI }", "variables": {"x": -Infinity}}',
        b'{"query": "{ whoAmI }", "variables": {"x": "\\ud800"}}',
        b'{"query": "{ whoAmI }", "variables": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"query": "{ whoAmI }", "operationName": "Other"}',
        b'{"query": "fragment F on Query { whoAmI }"}',
        b'{"query": "{ whoAmI }"} {}',
        b'[{"query": "{ whoAmI }"}]',
    ],
)
async def test_a_malformed_request_is_refused_with_json_errors(client: GraphQLClient, body: bytes) -> None:
    """Never 500, never plain text."""
    status, code = refusal(await post(client, body))
    assert status == 400
    assert code in ("BAD_REQUEST", "LIMIT_EXCEEDED", "OPERATION_RESOLUTION_FAILURE")


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ('application/json;charset="utf-8"', 200),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/jsonp", 415),
        ("text/plain; application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
async def test_only_json_is_read(client: GraphQLClient, content_type: str, expected: int) -> None:
    """What a form of another web site can send is refused."""
    response = await client.http.post(
        "/graphql", content=b'{"query": "{ whoAmI }"}', headers={"content-type": content_type}
    )
    assert response.status_code == expected
    if expected == 415:
        assert refusal(response) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html", "application/json"),
        (GRAPHQL_RESPONSE, GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}, application/json;q=0.9", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}; charset=utf-8, application/json", GRAPHQL_RESPONSE),
        (f"application/json, {GRAPHQL_RESPONSE};q=0.5", "application/json"),
        (f"{GRAPHQL_RESPONSE};q=0", "application/json"),
        (f"{GRAPHQL_RESPONSE};q=x", "application/json"),
    ],
)
async def test_the_client_chooses_the_media_type(client: GraphQLClient, accept: str | None, media_type: str) -> None:
    """The new media type comes with 400 for what did not run; plain JSON keeps 200, as old clients expect."""
    client.http.headers.pop("accept")
    headers = {"accept": accept} if accept else {}
    for query, status in (("{ whoAmI }", 200), ("{ nothing }", 400), ("{", 400)):
        response = await post(client, json.dumps({"query": query}).encode(), **headers)
        assert response.headers["content-type"] == media_type
        assert response.status_code == (200 if media_type == "application/json" else status)
        assert ("data" in response.json()) == (status == 200)


async def test_a_field_that_failed_is_still_an_answer(client: GraphQLClient) -> None:
    """What ran is 200 with data, even if the data is null."""
    response = await post(client, b'{"query": "{ fail(kind: \\"secret\\") }"}', accept=GRAPHQL_RESPONSE)
    assert response.status_code == 200
    assert response.json()["data"] is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_post_is_served(client: GraphQLClient, method: str) -> None:
    """Without debug neither GET queries nor GraphiQL exist."""
    response = await client.http.request(method, "/graphql?query={whoAmI}", headers={"accept": "text/html"})
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


async def test_debug_serves_graphiql_and_queries_by_get() -> None:
    """Mutations by GET stay refused, as a link could start them."""
    asgi = create_asgi(define_shop(), MemoryPlatform(), debug=True, authenticate=_refuse(UnauthenticatedError()))
    async with serve(asgi) as client:
        page = await client.http.get("/graphql", headers={"accept": "text/html"})
        assert "graphiql" in page.text.lower()
    async with serve(create_asgi(define_shop(), MemoryPlatform(), debug=True)) as client:
        response = await client.http.get("/graphql", params={"query": "{ whoAmI }", "variables": '{"x": 1}'})
        assert response.json()["data"]["whoAmI"]
        assert refusal(await client.http.get("/graphql", params={"query": PLACE})) == (405, "METHOD_NOT_ALLOWED")
        assert refusal(await client.http.get("/graphql", params={"query": "{ whoAmI }", "variables": "{"}))[0] == 400
        assert refusal(await client.http.put("/graphql"))[0] == 405


async def test_a_body_above_the_limit_is_not_read_to_its_end(client: GraphQLClient) -> None:
    """Without a content-length, no more than the limit is taken."""
    chunks = Chunks(100)
    response = await client.http.post("/graphql", content=chunks, headers={"content-type": "application/json"})
    assert refusal(response) == (413, "PAYLOAD_TOO_LARGE")
    assert chunks.sent <= 4


class Chunks:
    """A body that comes in megabytes, and counts those that were taken."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.count):
            self.sent += 1
            yield b" " * 1024 * 1024


async def test_the_limit_of_the_body_can_be_set() -> None:
    """It goes with the other limits."""
    asgi = create_asgi(define_shop(), MemoryPlatform(), limits=Limits(max_body_bytes=30))
    async with serve(asgi) as client:
        assert (await post(client, b'{"query": "{ whoAmI }"}')).status_code == 200
        assert (await post(client, b'{"query": "{ whoAmI }"}' + b" " * 8)).status_code == 413


async def test_batches_are_served_when_the_schema_allows_them() -> None:
    """Off by default; each operation of a batch has its own answer."""
    schema = create_schema(define_shop(), config=StrawberryConfig(batching_config={"max_operations": 2}))
    one = b'{"query": "{ whoAmI }"}'
    async with serve(create_asgi(define_shop(), MemoryPlatform(), schema=schema)) as client:
        response = await post(client, b"[" + one + b', {"query": "{ nothing }"}]', accept=GRAPHQL_RESPONSE)
        assert response.status_code == 200
        assert [sorted(answer) for answer in response.json()] == [["data"], ["errors"]]
        assert refusal(await post(client, b"[" + b",".join([one] * 3) + b"]"))[0] == 400
        assert refusal(await post(client, b"[3]"))[0] == 400


async def exchange(*messages: Message, length: bytes = b"9") -> tuple[list[Message], int]:
    """What a POST is answered with, and how many of the messages with its body were taken."""
    sent: list[Message] = []
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
    await create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema())(scope, receive, send)
    return sent, len(messages) - len(left)


async def test_a_client_that_leaves_while_sending_gets_no_answer() -> None:
    """There is nobody to answer, and nothing went wrong here."""
    sent, taken = await exchange({"type": "http.disconnect"})
    assert (sent, taken) == ([], 1)


async def test_a_body_with_a_length_above_the_limit_is_not_read_at_all() -> None:
    """100 MB are refused by what the header says."""
    sent, taken = await exchange({"type": "http.request", "body": b"x"}, length=b"100000000")
    assert (sent[0]["status"], taken) == (413, 0)


def _refuse(error: Exception) -> Any:
    def refuse(connection: HTTPConnection) -> User:
        raise error

    return refuse


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnauthenticatedError("Your token has expired."), 401, "UNAUTHENTICATED"),
        (ForbiddenError(), 403, "FORBIDDEN"),
        (PlatformUnavailableError(), 503, "PLATFORM_UNAVAILABLE"),
        (RuntimeError(SECRET), 500, "INTERNAL"),
    ],
)
async def test_a_caller_can_be_refused(error: Exception, status: int, code: str) -> None:
    """`authenticate` refuses with an error of gqlplugin; anything else it raises is masked."""
    async with serve(
        create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), authenticate=_refuse(error))
    ) as client:
        response = await post(client, b'{"query": "{ whoAmI }"}')
    assert refusal(response) == (status, code)
    assert "hunter2" not in response.text
    assert ("www-authenticate" in response.headers) == (status == 401)


async def test_the_caller_is_known_to_resolvers_and_to_the_run(client: GraphQLClient) -> None:
    """`authenticate` may be async; what it returns is `ctx.user`."""
    assert (await client.run("{ whoAmI }"))["whoAmI"] == User().id
    client.http.headers["x-user"] = "ann"
    assert (await client.run("{ whoAmI }"))["whoAmI"] == "ann"

    async def slow(connection: HTTPConnection) -> User:
        await asyncio.sleep(0)
        return User("eve", "user")

    async with serve(create_asgi(define_shop(), MemoryPlatform(), authenticate=slow)) as other:
        assert (await other.run("{ whoAmI }"))["whoAmI"] == "eve"


@strawberry.type
class ObjectQuery:
    @strawberry.field
    def json(self) -> strawberry.scalars.JSON:
        return {"value": object()}  # type: ignore[return-value] # what JSON has no form for


async def test_an_answer_that_is_not_json_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    """A scalar with a value that JSON has no form for does not end in plain text."""
    schema = strawberry.Schema(ObjectQuery, extensions=[WorkflowExtension])
    async with serve(create_asgi(define_shop(), MemoryPlatform(), schema=schema)) as client:
        assert refusal(await post(client, b'{"query": "{ json }"}')) == (500, "INTERNAL")
    assert any(record.name == "gqlplugin.graphql" for record in caplog.records)


class Socket:
    """The client's end of a WebSocket, without a network."""

    def __init__(self, asgi: ASGIApp, *, protocols: Iterable[str], headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        scope = {
            "type": "websocket",
            "path": "/graphql",
            "headers": [(b"host", b"testserver"), *headers],
            "subprotocols": list(protocols),
            "query_string": b"",
        }
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.ensure_future(asgi(scope, self._to_app.get, self._from_app.put))

    async def receive(self) -> Message:
        async with asyncio.timeout(60):
            return await self._from_app.get()

    async def send(self, message: object) -> None:
        await self._to_app.put({"type": "websocket.receive", "text": json.dumps(message)})

    async def receive_json(self) -> Any:
        return json.loads((await self.receive())["text"])

    async def close(self) -> None:
        await self._to_app.put({"type": "websocket.disconnect", "code": 1000})
        await self._task


async def test_operations_run_over_a_websocket(caplog: pytest.LogCaptureFixture) -> None:
    """graphql-transport-ws: a mutation starts a run, and errors are masked as over HTTP."""
    asgi = create_asgi(define_shop(), MemoryPlatform(), authenticate=authenticate)
    async with serve(asgi):
        socket = Socket(asgi, protocols=["graphql-transport-ws"], headers=[(b"x-user", b"ann")])
        assert (await socket.receive())["subprotocol"] == "graphql-transport-ws"
        await socket.send({"type": "connection_init"})
        assert (await socket.receive_json())["type"] == "connection_ack"
        answers = {}
        for id_, query in (("1", PLACE), ("2", '{ fail(kind: "secret") }'), ("3", "{ nothing }"), ("4", "{ whoAmI }")):
            await socket.send({"type": "subscribe", "id": id_, "payload": {"query": query}})
            answers[id_] = (await socket.receive_json())["payload"]
            if id_ != "3":
                assert (await socket.receive_json())["type"] == "complete"
        await socket.close()
    assert answers["1"]["data"]["placeOrder"]["runId"]
    assert answers["2"]["errors"][0]["message"] == "Internal error"
    assert answers["3"][0]["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
    assert answers["4"]["data"] == {"whoAmI": "ann"}
    assert len([record for record in caplog.records if record.levelno > logging.INFO]) == 1


@pytest.mark.parametrize(
    ("protocols", "headers", "error", "code"),
    [
        (["graphql-ws"], [], None, 4406),
        (["graphql-transport-ws"], [(b"origin", b"https://evil.example")], None, 1008),
        (["graphql-transport-ws"], [], UnauthenticatedError(), 4401),
        (["graphql-transport-ws"], [], ForbiddenError(), 4403),
    ],
)
async def test_a_websocket_can_be_refused(
    protocols: list[str], headers: list[tuple[bytes, bytes]], error: Exception | None, code: int
) -> None:
    """The legacy protocol, pages of other origins, and callers that `authenticate` refuses."""
    asgi = create_asgi(define_shop(), MemoryPlatform(), authenticate=_refuse(error) if error else None)
    async with serve(asgi):
        socket = Socket(asgi, protocols=protocols, headers=headers)
        message = await socket.receive()
        while message["type"] != "websocket.close":
            await socket.send({"type": "connection_init"})
            message = await socket.receive()
        await socket.close()
    assert message["code"] == code


async def test_several_operations_need_a_name(client: GraphQLClient) -> None:
    """Of several operations none runs unless the request names one, which then runs alone."""
    document = 'mutation First { placeOrder(orderId: "1") { runId } } query Second { whoAmI }'
    refused = await post(client, json.dumps({"query": document}).encode())
    assert refused.json()["errors"][0]["extensions"]["code"] == "OPERATION_RESOLUTION_FAILURE"
    assert refused.json().get("data") is None
    named = await post(client, json.dumps({"query": document, "operationName": "Second"}).encode())
    assert set(named.json()["data"]) == {"whoAmI"}
