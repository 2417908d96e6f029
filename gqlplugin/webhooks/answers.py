"""What a sender is answered, unless a run was started for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response

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
