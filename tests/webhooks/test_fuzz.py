"""Whatever a request holds, it is accepted or refused."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from gqlplugin.asgi import create_asgi
from gqlplugin.testing import MemoryPlatform, serve
from tests.webhooks.support import PATH_NEW, define_hooks, signed

MEDIA_TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=cut",
    "multipart/form-data; boundary=",
    "application/vnd.shop+json",
    "text/plain",
]
content_types = st.one_of(
    st.sampled_from(MEDIA_TYPES),
    st.builds("{}; charset={}".format, st.sampled_from(MEDIA_TYPES), st.text("abcdef-_*\0ä\"'=;0123456789")),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")),
)
json_like = st.recursive(
    st.sampled_from(["1", "1e999", "-0", "NaN", "null", '"\\ud800"', '"\\u0000"', "1" * 4301, "", "tru"]),
    lambda inner: st.one_of(
        st.lists(inner).map(lambda items: f"[{','.join(items)}]"), inner.map(lambda item: f'{{"order_id": {item}}}')
    ),
).map(str.encode)
form_like = st.lists(st.sampled_from(["a=1", "=", "&", "%ff", "%", "+", "order_id=x", "cents=1", "%00", "ä"])).map(
    lambda parts: "&".join(parts).encode()
)
multipart_like = st.lists(
    st.sampled_from(
        [
            b"--cut",
            b"--cut--",
            b"--",
            b"\r\n",
            b'Content-Disposition: form-data; name="a"',
            b'Content-Disposition: form-data; name="a"; filename="b"',
            b"Content-Disposition: form-data; name*=utf-8''%ff",
            b"Content-Type: text/plain; charset=utf-7",
            b"x: " + b"y" * 5000,
            b"\xff",
            b"text",
        ]
    )
).map(b"\r\n".join)
bodies = st.one_of(st.binary(), st.text().map(str.encode), json_like, form_like, multipart_like)
header_values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"))
more_headers = st.dictionaries(
    st.sampled_from(
        ["x-delivery", "idempotency-key", "cookie", "authorization", "content-length", "transfer-encoding", "x-ä"]
    ),
    header_values,
)
methods = st.sampled_from(["POST", "GET", "PUT", "DELETE", "PATCH", "HEAD"])
queries = st.one_of(
    st.binary(max_size=50), st.lists(st.sampled_from([b"a=1", b"%ff", b"&", b"=", b"+"])).map(b"&".join)
)


@dataclass(frozen=True)
class Request:
    method: str = "POST"
    query: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class Endpoint:
    """The app, spoken to in ASGI's terms, which let through more than an HTTP client does."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._stack = AsyncExitStack()
        self._asgi = create_asgi(define_hooks(), MemoryPlatform(), execute=False)
        runner.run(self._stack.enter_async_context(serve(self._asgi)))

    def close(self) -> None:
        self._runner.run(self._stack.aclose())

    def status(self, path: str, request: Request) -> int:
        """The status of the answer to a request."""
        return self._runner.run(self._status(path, request))

    async def _status(self, path: str, request: Request) -> int:
        scope = {
            "type": "http",
            "method": request.method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": request.query,
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers],
        }
        events: list[Message] = [{"type": "http.request", "body": request.body}]
        sent: list[Message] = []

        async def receive() -> Message:
            return events.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        await self._asgi(scope, receive, send)
        return int(sent[0]["status"])


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """One for all examples."""
    with asyncio.Runner() as runner:
        endpoint = Endpoint(runner)
        yield endpoint
        endpoint.close()


requests = st.builds(
    lambda method, query, headers, body, content_type: Request(
        method, query, [*headers.items(), ("content-type", content_type)], body
    ),
    methods,
    queries,
    more_headers,
    bodies,
    content_types,
)


@settings(max_examples=300)
@given(requests)
@example(Request(headers=[("content-type", MEDIA_TYPES[0])], body=b'{"order_id": "x", "cents": 1e999}'))
@example(Request(headers=[("content-type", f"{MEDIA_TYPES[2]}; charset=punycode")], body=b"--cut--"))
def test_no_request_of_a_sender_breaks_anything(endpoint: Endpoint, request_: Request) -> None:
    """Once it has proved itself, 204, or what is wrong with the request."""
    statuses = {endpoint.status(f"/webhooks/{name}/{PATH_NEW}", request_) for name in ("by-path", "payment-by-path")}
    assert statuses <= {204, 400, 405, 413, 415}
    with suppress(UnicodeDecodeError):  # which the library can't sign
        proof = signed(b"" if request_.method == "GET" else request_.body).items()
        status = endpoint.status("/webhooks/signed", replace(request_, headers=[*request_.headers, *proof]))
        assert status in {*statuses, 204}


signatures = st.one_of(
    header_values,
    st.lists(
        st.one_of(
            st.sampled_from(["v1", "v1,", ",", "v1a,AAAA", "v1,A", "v1,AAAA,"]),
            st.binary().map(lambda raw: f"v1,{base64.b64encode(raw).decode()}"),
        )
    ).map(" ".join),
)
timestamps = st.one_of(
    header_values,
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from([signed("")["webhook-timestamp"], "1_0", "\xb2", "1e3"]),
)


forged = st.builds(
    lambda delivery_id, timestamp, signature, body: Request(
        headers=[("webhook-id", delivery_id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)],
        body=body,
    ),
    header_values,
    timestamps,
    signatures,
    bodies,
)


@settings(max_examples=300)
@given(forged, st.text())
def test_no_forged_proof_breaks_anything(endpoint: Endpoint, request_: Request, guess: str) -> None:
    """Headers and secrets that were made up get the one answer."""
    assert endpoint.status("/webhooks/signed", request_) == 404
    assert endpoint.status(f"/webhooks/by-path/{guess}", request_) == 404
