"""Reading a request: its body within bounds, and the arguments that condition and operation get of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl

from pydantic_core import from_json, to_json
from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from gqlplugin.webhooks.answers import bad_request, not_utf8, too_large

MAX_FIELDS = 1000
"""Fields of a form, and parameters of a query."""

_CREDENTIALS = frozenset(("authorization", "cookie", "proxy-authorization", "svix-signature", "webhook-signature"))
_FORM, _MULTIPART = _FORMS = "application/x-www-form-urlencoded", "multipart/form-data"
_MAX_LENGTH_DIGITS = 15  # more is beyond every limit, and more than 4300 can't be read


def read_headers(scope: Scope) -> dict[str, str]:
    """The headers by lower-case name; one that is repeated as RFC 9110, section 5.3, has it."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    """The body, of which never more than the limit is kept.

    Raises:
        RefusedRequestError: It is longer than the limit, in bytes.
        ClientDisconnect: The client went away before it was all there.
    """
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise bad_request("The content-length is not a number.")
    if len(length) > _MAX_LENGTH_DIGITS or int(length) > limit:
        raise too_large(limit)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


async def read_arguments(method: str, query: bytes, headers: Mapping[str, str], body: bytes) -> str:
    """The JSON text of `IncomingWebhookArgs`.

    Raises:
        RefusedRequestError: The body or the query can't be read.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise not_utf8() from None
    rest = {
        "headers": {name: value for name, value in headers.items() if name not in _CREDENTIALS},
        "method": method,
        "raw_body": text,
        "query": dict(_pairs("query", query.decode("latin-1"))) if query else {},
    }
    return f'{{"body":{await _json_of(text, headers)},{to_json(rest).decode()[1:]}'


def is_read(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether arguments have what a body holds, and not only its text."""
    media_type = _media_type(headers)
    return not body or _is_json(media_type) or media_type in _FORMS or _is_plain_json(media_type, body.decode())


async def _json_of(text: str, headers: Mapping[str, str]) -> str:
    """The body as JSON text, by its content type."""
    media_type = _media_type(headers)
    if not text:
        return "null"
    if _is_json(media_type):
        return _checked(text)
    if media_type == _FORM:
        return _fields(_pairs("form", text))
    if media_type == _MULTIPART:
        return _fields(await _parts(headers["content-type"], text))
    return text if _is_plain_json(media_type, text) else "null"


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _is_plain_json(media_type: str, text: str) -> bool:
    """Whether a plain text is an object or an array in JSON, as Amazon SNS sends it; `42` and `null` stay texts."""
    if media_type != "text/plain" or text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _checked(text: str) -> str:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError as error:  # says what and where, and quotes nothing
        raise bad_request(f"The body is not valid JSON: {error}.") from None
    return text


def _pairs(what: str, text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise bad_request(f"The {what} is not UTF-8.") from None
    except ValueError:
        raise bad_request(f"The {what} has more than {MAX_FIELDS} fields.") from None


async def _parts(content_type: str, text: str) -> list[tuple[str, str]]:
    _, options = parse_options_header(content_type)
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise not_utf8()
    body = text.encode()

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    scope = {"type": "http", "headers": [(b"content-type", content_type.encode("latin-1"))]}
    try:
        form = await Request(scope, receive).form(max_files=0, max_fields=MAX_FIELDS, max_part_size=len(body))
    except MultiPartException:
        raise bad_request(f"The form is malformed, has a file, or more than {MAX_FIELDS} fields.") from None
    return cast(list[tuple[str, str]], form.multi_items())  # no files, which `max_files` refuses


def _fields(pairs: Iterable[tuple[str, str]]) -> str:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return to_json({name: values[0] if len(values) == 1 else values for name, values in fields.items()}).decode()
