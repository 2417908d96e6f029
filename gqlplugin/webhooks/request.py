"""Reads webhook requests within limits, and builds the responses to invalid ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

METHODS = ("DELETE", "GET", "POST", "PUT")
MAX_PROBLEMS = 10
MEDIA_TYPES = (
    "JSON as application/json (or application/*+json, or an object or array as text/plain), or a form as "
    "application/x-www-form-urlencoded or multipart/form-data"
)

_MAX_STEP = 64
_RETRY_AFTER_SECONDS = "10"


class RefusedRequestError(Exception):
    """A request that starts nothing.

    Args:
        status: Of HTTP.
        code: For programs.
        message: For people; holds nothing that the request held.
        headers: More headers of the answer.
        problems: What in the request doesn't fit.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        problems: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body: dict[str, object] = {"code": code, "message": message}
        if problems:
            self.body["problems"] = problems

    def response(self) -> Response:
        """The answer; a new one each time, as middleware adds headers to what it gets."""
        return Response(to_json(self.body), self.status, self.headers, "application/json")


def accepted() -> Response:
    """The answer once the run is durable."""
    return Response(status_code=204)


def not_proved() -> RefusedRequestError:
    """The one answer to whoever does not prove to be the sender: it tells nothing, not even which webhooks there are.

    A 404, not a 401: for a name that is unknown it is the plain truth, and RFC 9110 wants a 401 to name an
    authentication scheme of HTTP, which neither of the proofs is.
    """
    message = "There is no such webhook, or the request does not prove who sent it."
    return RefusedRequestError(404, "NOT_FOUND", message)


def method_not_allowed() -> RefusedRequestError:
    """For methods that no webhook takes."""
    allow = ", ".join(METHODS)
    return RefusedRequestError(405, "METHOD_NOT_ALLOWED", f"Webhooks take {allow}.", headers={"allow": allow})


def bad_request(message: str) -> RefusedRequestError:
    """For what can't be read."""
    return RefusedRequestError(400, "BAD_REQUEST", message)


def not_read() -> RefusedRequestError:
    """For a body that was not read, as its content type is none of those that are."""
    message = f"The body is not read, and something is wanted: send {MEDIA_TYPES}."
    return RefusedRequestError(415, "UNSUPPORTED_MEDIA_TYPE", message)


def not_utf8() -> RefusedRequestError:
    """For a body that is no text."""
    return RefusedRequestError(415, "UNSUPPORTED_MEDIA_TYPE", "Send the body in UTF-8.")


def too_large(limit: int) -> RefusedRequestError:
    """For a body beyond the limit, in bytes."""
    # without `connection: close`, which makes servers cut off clients that are still sending and read no answer
    return RefusedRequestError(413, "PAYLOAD_TOO_LARGE", f"The body is larger than the limit of {limit} bytes.")


def too_large_to_keep() -> RefusedRequestError:
    """For a request that the platform does not take as an argument."""
    return RefusedRequestError(413, "PAYLOAD_TOO_LARGE", "The request is larger than what can be kept of one.")


def does_not_fit(error: ValidationError) -> RefusedRequestError:
    """For a body that the model refuses: where, and pydantic's name for why. Its messages may hold values."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    problems = [{"at": _place(item["loc"]) or "body", "type": item["type"]} for item in found[:MAX_PROBLEMS]]
    return RefusedRequestError(400, "BAD_USER_INPUT", "The request does not fit.", problems=problems)


def unavailable() -> RefusedRequestError:
    """For what can be sent again later."""
    message = "This can't be accepted right now: send it again later."
    return RefusedRequestError(503, "UNAVAILABLE", message, headers={"retry-after": _RETRY_AFTER_SECONDS})


def internal(identifier: str) -> RefusedRequestError:
    """For an error that was logged under an ID."""
    return RefusedRequestError(500, "INTERNAL", f"Internal error {identifier}.")


def _place(loc: Sequence[int | str]) -> str:
    return ".".join(str(step)[:_MAX_STEP] for step in loc[:_MAX_STEP])


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
