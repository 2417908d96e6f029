"""What condition and operation get of a request, and bodies that can't be read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.executor import create_executor, function_operation, incoming_webhook_trigger
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform, serve
from tests.webhooks.support import PATH_NEW, arguments, firings, signed, take

pytestmark = pytest.mark.anyio

URL = f"/webhooks/by-path/{PATH_NEW}"
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
BOUNDARY = "multipart/form-data; boundary=cut"


def _multipart(*parts: str) -> str:
    return "".join(f"--cut\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--cut--\r\n"


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", '{"a": [1, 2.5, "ä", null]}', {"a": [1, 2.5, "ä", None]}),
        ("application/json; charset=utf-8", "[]", []),
        ("Application/CloudEvents+JSON", ' "x" ', "x"),
        ("application/json", "", None),
        ("application/json", '{"a": 1, "a": 2}', {"a": 2}),
        ("application/json", "12345678901234567890123", 12345678901234567890123),
        (
            "application/x-www-form-urlencoded",
            "a=1&b=x+y%20%C3%A4&a=2&c=&d",
            {"a": ["1", "2"], "b": "x y ä", "c": "", "d": ""},
        ),
        (
            BOUNDARY,
            _multipart('name="a"\r\n\r\n1', 'name="b"\r\n\r\nä', 'name="a"\r\n\r\n2'),
            {"a": ["1", "2"], "b": "ä"},
        ),
        ("text/plain", '{"a": 1}', {"a": 1}),
        ("text/plain; charset=UTF-8", ' [{"Type": "Notification"}]', [{"Type": "Notification"}]),
        ("text/plain", "{1}", None),
        ("text/plain", "42", None),
        ("text/xml", "<a/>", None),
        (None, '{"a": 1}', None),
        (None, "", None),
    ],
)
async def test_the_body_is_parsed_by_its_content_type(
    http: httpx.AsyncClient, platform: MemoryPlatform, content_type: str | None, body: str, expected: object
) -> None:
    """JSON and forms are parsed, other bodies are there as text; a field that is repeated is a list.

    So is an object or array that is sent as plain text, as Amazon SNS does.
    """
    headers = {} if content_type is None else {"content-type": content_type}
    response = await http.put(URL, content=body.encode(), headers=headers)
    assert response.status_code == 204, response.text
    args = await arguments(platform, "by-path")
    assert (args["body"], args["raw_body"], args["method"]) == (expected, body, "PUT")


async def test_headers_and_query_are_there_without_what_proves_the_sender(
    http: httpx.AsyncClient, platform: MemoryPlatform
) -> None:
    """Names are lower-case, repeated headers joined, of repeated parameters the last; credentials are left out."""
    headers = [
        *signed("").items(),
        ("Authorization", "Bearer of-something"),
        ("Proxy-Authorization", "Basic of-something"),
        ("Cookie", "session=of-something"),
        ("X-Topic", "one"),
        ("x-topic", "two"),
    ]
    response = await http.post("/webhooks/signed?a=1&a=2&b=x%20y&c", content="", headers=headers)
    assert response.status_code == 204, response.text
    args = await arguments(platform, "signed")
    assert args["query"] == {"a": "2", "b": "x y", "c": ""}
    assert args["headers"]["x-topic"] == "one, two"
    assert args["headers"]["webhook-id"] == "msg_1"
    assert not {"webhook-signature", "authorization", "proxy-authorization", "cookie"} & set(args["headers"])
    assert "of-something" not in json.dumps(args)


async def test_no_secret_of_the_path_is_in_the_arguments(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """They are kept in the journal, and shown to operators."""
    await http.post(URL)
    assert PATH_NEW not in json.dumps(await arguments(platform, "by-path"))


async def test_a_get_has_no_body(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """What is sent with one is not even read, and its signature is over nothing."""
    response = await http.request("GET", "/webhooks/signed?x=1", content="{", headers={**signed(""), **JSON})
    assert response.status_code == 204
    args = await arguments(platform, "signed")
    assert (args["body"], args["raw_body"], args["method"], args["query"]) == (None, "", "GET", {"x": "1"})


MALFORMED: dict[str, tuple[dict[str, str], bytes, int]] = {
    "not JSON": (JSON, b'{"very-private": ', 400),
    "two values": (JSON, b'1, "headers": {"very-private": 1}', 400),
    "NaN": (JSON, b"[NaN]", 400),
    "a lone surrogate": (JSON, b'"\\ud800"', 400),
    "a number of more digits than Python reads": (JSON, b"1" * 4301, 400),
    "nested beyond the parser": (JSON, b"[" * 1500 + b"]" * 1500, 400),
    "nested beyond the arguments": (JSON, b"[" * 201 + b"]" * 201, 400),  # which the parser itself would read
    "JSON that is not UTF-8": (JSON, b'"\xff"', 415),
    "text that is not UTF-8": ({}, b"\xff", 415),
    "too many fields": (FORM, b"&".join([b"a=1"] * 1001), 400),
    "fields that are not UTF-8": (FORM, b"a=%ff", 400),
    "a form without a boundary": ({"content-type": "multipart/form-data"}, b"--cut--", 400),
    "a form that is none": ({"content-type": BOUNDARY}, b"very-private", 400),
    "a form of another character set": ({"content-type": f"{BOUNDARY}; charset=idna"}, b"--cut--", 415),
    "a form with a file": (
        {"content-type": BOUNDARY},
        _multipart('name="a"; filename="very-private"\r\n\r\nx').encode(),
        400,
    ),
    "a form with a part without a name": ({"content-type": BOUNDARY}, _multipart("x=y\r\n\r\n1").encode(), 400),
}


@pytest.mark.parametrize("which", MALFORMED)
async def test_a_body_that_cant_be_read_is_refused(
    http: httpx.AsyncClient, platform: MemoryPlatform, which: str
) -> None:
    """The sender is told why in a short JSON body that quotes nothing, and nothing starts."""
    headers, body, status = MALFORMED[which]
    response = await http.post(URL, content=body, headers=headers)
    assert response.status_code == status, response.text
    assert set(response.json()) <= {"code", "message", "problems"}
    assert len(response.content) < 500
    assert "very-private" not in response.text
    assert not await firings(platform, "by-path")


async def test_a_query_that_cant_be_read_is_refused(http: httpx.AsyncClient) -> None:
    """The same for what is in the URL."""
    assert (await http.post(f"{URL}?a=%ff")).status_code == 400
    assert (await http.post(f"{URL}?{'a&' * 1001}")).status_code == 400


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b"&".join([b"a=1"] * 250_000)),
        ({"content-type": BOUNDARY}, _multipart(*['name="a"\r\n\r\n1'] * 15_000).encode()),
        (JSON, b'{"a":' * 150_000),
        (JSON, b"[" * 1_000_000),
    ],
)
async def test_a_bomb_costs_little(http: httpx.AsyncClient, headers: dict[str, str], body: bytes) -> None:
    """Forms and JSON made to cost are refused at a bound, at the longest body there may be."""
    response = await http.post(f"/webhooks/payment-by-path/{PATH_NEW}", content=body, headers=headers, timeout=60)
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ({"order_id": "very-private"}, [{"at": "body.cents", "type": "missing"}]),
        ({"order_id": "o", "cents": "very-private"}, [{"at": "body.cents", "type": "int_parsing"}]),
        (["very-private"], [{"at": "body", "type": "model_type"}]),
        (None, [{"at": "body", "type": "model_type"}]),
    ],
)
async def test_a_body_that_the_model_refuses_is_told_by_its_place(
    http: httpx.AsyncClient, platform: MemoryPlatform, body: object, problems: list[dict[str, str]]
) -> None:
    """Where and of which kind, never what was there; nothing starts."""
    response = await http.post(f"/webhooks/payment-by-path/{PATH_NEW}", json=body)
    assert response.status_code == 400
    assert response.json() == {"code": "BAD_USER_INPUT", "message": "The request does not fit.", "problems": problems}
    assert not await firings(platform, "payment-by-path")


async def test_what_is_wrong_with_a_body_is_told_to_its_sender_alone(http: httpx.AsyncClient) -> None:
    """Before the proof a malformed body is as good as any."""
    for path in ("/webhooks/payment-by-path/a-guess-at-the-secret", "/webhooks/payment"):
        assert (await http.post(path, content="{", headers=JSON)).status_code == 404


async def test_a_form_may_fit_a_model(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """Texts of forms become the numbers that the model asks for."""
    form: Any = {"order_id": "o-1", "cents": "500"}
    assert (await http.post(f"/webhooks/payment-by-path/{PATH_NEW}", data=form)).status_code == 204
    assert (await arguments(platform, "payment-by-path"))["body"] == form


@pytest.mark.parametrize("size", [100, 101])
async def test_the_limit_of_a_trigger_is_kept(http: httpx.AsyncClient, platform: MemoryPlatform, size: int) -> None:
    """Up to the limit a body is taken; beyond it 413."""
    body = "x" * size
    response = await http.post("/webhooks/small", content=body, headers=signed(body))
    assert response.status_code == (204 if size == 100 else 413)
    assert len(await firings(platform, "small")) == (1 if size == 100 else 0)


async def test_a_request_that_the_platform_does_not_keep_is_too_large(http: httpx.AsyncClient) -> None:
    """A body within the limit of its trigger may still make arguments beyond the platform's."""
    body = '"' + "x" * 700_000 + '"'
    response = await http.post("/webhooks/signed", content=body, headers=signed(body, content_type="application/json"))
    assert response.status_code == 413


@pytest.mark.parametrize("path", ["/webhooks/signed", "/webhooks/small", "/webhooks/nobody", "/webhooks/asleep"])
async def test_before_the_proof_there_is_one_limit(http: httpx.AsyncClient, path: str) -> None:
    """A limit of a name's own would tell that there is one; what is announced as too long is not waited for."""
    body = b"x" * (1024 * 1024 + 1)
    answers = [
        await http.post(path, content=body),
        await http.post(path, headers={"content-length": "9" * 5000}),
        await http.post(path, headers={"content-length": "1_0"}),
    ]
    assert [answer.status_code for answer in answers] == [413, 413, 400]
    reference = await http.post("/webhooks/never-heard-of", content=body)
    assert answers[0].content == reference.content


async def test_the_longest_limit_is_that_of_all_names_before_the_proof() -> None:
    """One trigger takes more than others do; who proves nothing can't tell which."""
    trigger = incoming_webhook_trigger(signing_secrets=[secret("SHOP_SIGNING_NEW")], max_body_bytes=2 * 1024 * 1024)
    executor = create_executor("large", trigger=trigger, operation=function_operation(take))
    platform = MemoryPlatform(max_arg_bytes=8 * 1024 * 1024)
    body = "x" * 1_500_000
    async with serve(create_asgi(define_app("large", executors=[executor]), platform, execute=False)) as client:
        assert (await client.http.post("/webhooks/large", content=body, headers=signed(body))).status_code == 204
        for path in ("/webhooks/large", "/webhooks/nobody"):
            assert (await client.http.post(path, content=body)).status_code == 404
            assert (await client.http.post(path, content=body + body)).status_code == 413


@pytest.mark.parametrize("content_type", ["text/xml", "text/plain", "", "application/octet-stream"])
async def test_a_body_that_is_not_read_where_one_is_wanted(http: httpx.AsyncClient, content_type: str) -> None:
    """The sender is told which content types are read."""
    headers = {"content-type": content_type} if content_type else {}
    answer = await http.post(f"/webhooks/payment-by-path/{PATH_NEW}", content="order_id=1", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert "application/json" in answer.json()["message"]
    assert "application/x-www-form-urlencoded" in answer.json()["message"]


async def test_json_as_plain_text_fits_a_model(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """As Amazon SNS sends it; one that doesn't fit is told so."""
    url, headers = f"/webhooks/payment-by-path/{PATH_NEW}", {"content-type": "text/plain; charset=UTF-8"}
    body = '{"order_id": "1", "cents": 5}'
    assert (await http.post(url, content=body, headers=headers)).status_code == 204
    assert (await arguments(platform, "payment-by-path"))["body"] == {"order_id": "1", "cents": 5}
    assert (await http.post(url, content='{"order_id": "1"}', headers=headers)).json()["code"] == "BAD_USER_INPUT"
