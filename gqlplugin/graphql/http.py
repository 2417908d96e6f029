"""GraphQL over HTTP: reading a request, and answering one that can't be run.

The specification is https://graphql.github.io/graphql-over-http/draft/.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any, cast

from cross_web import HTTPException
from graphql import GraphQLError
from pydantic_core import from_json, to_json
from starlette.responses import Response
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import PreExecutionError

from gqlplugin.errors import GqlpluginError, UnauthenticatedError, is_public, plain_text
from gqlplugin.graphql.errors import INTERNAL, extensions_of, internal_error
from gqlplugin.graphql.limits import LIMIT_EXCEEDED, Limits

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"


_PROTECTION = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class RefusedRequestError(Exception):
    """A request that is answered without running anything: an HTTP status, extensions with a code, and a message."""

    def __init__(
        self, status: int, extensions: dict[str, Any], message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.extensions = extensions
        self.headers = headers


def status_of(response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], media_type: str) -> int:
    """The status of an answer; with plain JSON it is 200 whatever the answer says."""
    if media_type == JSON or isinstance(response_data, list) or "data" in response_data:
        return 200
    errors = cast(list[dict[str, Any]], response_data["errors"])
    return 500 if any(error["extensions"]["code"] == INTERNAL for error in errors) else 400


@lru_cache(maxsize=64)
def media_type_for(accept: str) -> str:
    """The media type for a client: the new one only if it names it, and prefers nothing older."""
    quality = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weights = [text[2:] for text in parameters if text.startswith("q=")]
        try:
            quality[name] = float(weights[0]) if weights else 1.0
        except ValueError:
            quality[name] = 0.0
    wanted = quality.get(GRAPHQL_RESPONSE, 0.0)
    return GRAPHQL_RESPONSE if wanted > 0 and wanted >= quality.get(JSON, 0.0) else JSON


def check_content_type(content_type: str) -> None:
    """Refuse what isn't JSON, forms of other web sites included.

    Raises:
        RefusedRequestError: It is refused.
    """
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media_type.strip().lower() != JSON or charset.lower() not in ("", "utf-8", "utf8"):
        raise RefusedRequestError(415, {"code": "UNSUPPORTED_MEDIA_TYPE"}, f"Send the request as {JSON} in UTF-8.")


def max_values_in_request(limits: Limits) -> int:
    """How many values a request may hold: more than its variables, whose limit is told with the name of one."""
    return 4 * limits.max_variable_values


DEFAULT_MAX_VALUES = max_values_in_request(Limits())


def read_json(text: bytes | str, max_values: int = DEFAULT_MAX_VALUES) -> Any:
    """The value of a JSON text.

    Args:
        text: The JSON text.
        max_values: Most items of lists and fields of objects in it. They take longer to read than their bytes let
            expect: each list and each object is something that Python's garbage collector looks at, again and again.

    Raises:
        RefusedRequestError: It isn't JSON, nested more than 200 deep, or has more values.
    """
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    if _marks_in(data) > max_values and _marks_in(_without_strings(data)) > max_values:
        message = f"The request has more than {max_values} values in its lists and objects."
        raise RefusedRequestError(400, {"code": LIMIT_EXCEEDED}, message)
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _bad_request(f"The request is not valid JSON: {error}.") from None


def _marks_in(data: bytes) -> int:
    """As many as a JSON text without strings has values, or a few more."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _without_strings(data: bytes) -> bytes:
    return b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def from_query_string(parameters: Mapping[str, Any], max_values: int = DEFAULT_MAX_VALUES) -> dict[str, Any]:
    """A request by GET.

    Raises:
        RefusedRequestError: Its variables or extensions aren't JSON, or have more values.
    """
    data = dict(parameters)
    for name in ("variables", "extensions"):
        if data.get(name):
            data[name] = read_json(data[name], max_values)
    return data


def request_data(data: object) -> GraphQLRequestData:
    """The request in a JSON value.

    Raises:
        RefusedRequestError: It isn't one.
    """
    if not isinstance(data, dict):
        raise _bad_request("The request must be a JSON object with a `query`.")
    for name, type_, kind in (
        ("query", str, "a string"),
        ("variables", dict, "an object"),
        ("operationName", str, "a string"),
        ("extensions", dict, "an object"),
    ):
        value = data.get(name)
        if value is not None and not isinstance(value, type_):
            raise _bad_request(f"`{name}` must be {kind}.")
    return GraphQLRequestData(
        data.get("query"), data.get("variables"), data.get("operationName"), data.get("extensions")
    )


def _bad_request(message: str) -> RefusedRequestError:
    return RefusedRequestError(400, {"code": "BAD_REQUEST"}, message)


def protect(response: Response) -> None:
    """Keep caches from storing an answer that is its caller's, and browsers from taking it for something else.

    What a resolver has said itself stays.
    """
    said = {name for name, _ in response.raw_headers}
    response.raw_headers.extend(header for header in _PROTECTION if header[0] not in said)


def method_not_allowed(message: str, allowed: Iterable[str]) -> RefusedRequestError:
    """The refusal of a method, with those that are allowed here."""
    return RefusedRequestError(405, {"code": "METHOD_NOT_ALLOWED"}, message, {"allow": ", ".join(allowed)})


def refusal(accept: str, error: Exception) -> Response:
    """The answer to a request that did not run."""
    refused = _as_refused(error)
    body = {"errors": [{"message": plain_text(refused), "extensions": refused.extensions}]}
    response = Response(to_json(body), refused.status, refused.headers, media_type_for(accept))
    protect(response)
    return response


def as_json(data: object) -> bytes:
    """The text of an answer; numbers that JSON lacks are null in it."""
    return to_json(data, inf_nan_mode="null")


def internal_answer(error: Exception, where: str) -> dict[str, Any]:
    """What a client gets for an unexpected error, which is logged."""
    return {"message": "Internal error", "extensions": internal_error(error, where)}


async def until_refused(results: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The results of a stream; an error that our extension raises, which is one for clients, is the last of them."""
    try:
        async with aclosing(results):
            async for result in results:
                yield result
    except GraphQLError as error:
        yield PreExecutionError(data=None, errors=[error])


def _as_refused(error: Exception) -> RefusedRequestError:  # noqa: PLR0911 - one case per kind of error
    match error:
        case RefusedRequestError():
            return error
        case UnauthenticatedError():
            return RefusedRequestError(401, extensions_of(error), error.message, {"www-authenticate": "Bearer"})
        case GqlpluginError() if is_public(error):
            return RefusedRequestError(_STATUS.get(error.code, 400), extensions_of(error), error.message)
        case HTTPException(__cause__=InvalidOperationTypeError()) if error.reason.endswith("GET"):
            return method_not_allowed(f"{error.reason}: use POST.", ["POST"])
        case HTTPException(__cause__=CannotGetOperationTypeError()):
            return RefusedRequestError(400, {"code": "OPERATION_RESOLUTION_FAILURE"}, error.reason)
        case HTTPException():
            return RefusedRequestError(error.status_code, {"code": "BAD_REQUEST"}, error.reason)
        case _:
            return RefusedRequestError(500, internal_error(error, "the request"), "Internal error")


_STATUS = {"AUTHENTICATION_UNAVAILABLE": 503, "FORBIDDEN": 403, "PLATFORM_UNAVAILABLE": 503}
