"""What goes wrong between us and a server, and what the callers of the API are told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gqlplugin.errors import (
    FailedPreconditionError,
    ForbiddenError,
    GqlpluginError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformUnavailableError,
    UnsupportedError,
)

_MAX_DETAIL = 500

_CODES = frozenset(
    (
        "canceled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
        "unauthenticated",
    )
)

_CODE_OF_STATUS = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}

_PUBLIC: dict[str, tuple[type[GqlpluginError], str | None]] = {
    "invalid_argument": (InvalidInputError, "The workflow platform refused the request as not valid."),
    "out_of_range": (InvalidInputError, "The workflow platform refused the request as not valid."),
    "not_found": (NotFoundError, None),
    "failed_precondition": (FailedPreconditionError, None),
    "permission_denied": (ForbiddenError, "The workflow platform does not allow this."),
    "unauthenticated": (PlatformCredentialsError, None),
    "already_exists": (IdempotencyKeyReusedError, None),
    "unimplemented": (UnsupportedError, "The workflow platform can't do this."),
}


class CallError(Exception):
    """Why a call has no result, for logs and operators; callers of the API get `public_error`.

    Args:
        code: A Connect code (TAILOR.md section 1).
        detail: The server's own words, or ours where it said nothing.
        status: The HTTP status; None when there was no answer.
        sent: Whether the server can have had the request.
        ours: Whether the server is gqlplugin's, so that `detail` is written for callers.
    """

    def __init__(
        self, code: str, detail: str, *, status: int | None = None, sent: bool = True, ours: bool = False
    ) -> None:
        self.code = code
        self.detail = _one_line(detail)
        self.status = status
        self.sent = sent
        self.ours = ours
        super().__init__(f"{code}{'' if status is None else f' (HTTP {status})'}: {self.detail}")

    @property
    def lost(self) -> bool:
        """Whether the server may have done what was asked: it did not answer, or not with a clear refusal."""
        if not self.sent or self.code == "unimplemented":
            return False
        return self.status is None or not 400 <= self.status < 499 or self.status == 408

    @property
    def passing(self) -> bool:
        """Whether another try may succeed soon."""
        return self.code in ("unavailable", "internal", "resource_exhausted")


def public_error(error: CallError, *, unknown: bool) -> GqlpluginError:
    """The error for callers: a foreign server's own words are left out.

    Args:
        error: What happened last.
        unknown: Whether something may have been done that matters.
    """
    if unknown:
        return OutcomeUnknownError()
    kind, message = _PUBLIC.get(error.code, (PlatformUnavailableError, None))
    if error.ours and error.code in _PUBLIC and error.code != "unauthenticated":
        message = error.detail
    return kind(message)


def code_of_status(status: int) -> str:
    """The code of an answer that is not a Connect error."""
    return _CODE_OF_STATUS.get(status, "unknown")


def is_code(code: str) -> bool:
    """Whether this is a code of the Connect protocol."""
    return code in _CODES


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", text[: 2 * _MAX_DETAIL]).strip()[:_MAX_DETAIL]


@contextmanager
def missing(problem: str) -> Iterator[None]:
    """Say in our own words what was not found."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(problem) from error.__cause__


@contextmanager
def unsupported(problem: str) -> Iterator[None]:
    """Say in our own words what the platform can't do."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(problem) from error.__cause__
